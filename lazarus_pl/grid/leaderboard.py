"""Runs in the order of their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.table import write_table
from lazarus_pl.grid.run_result import RunResult

COLUMNS = (
    "rank",
    "head",
    "lr",
    "seed",
    "val_macro_f1",
    "val_accuracy",
    "epochs",
    "seconds",
    "checkpoint",
    "error",
)


class Leaderboard:
    """Ranks runs by macro-F1 on val; failed runs come last.

    On a small val many are equal: then the more accurate one is ahead, and of those the one whose
    loss is lower, which is surer of what is right where all have one kind of loss.

    Args:
        results: Of all runs.

    Attributes:
        results: The best first.
    """

    def __init__(self, results: Sequence[RunResult]) -> None:
        self.results = sorted(results, key=_rank)

    @property
    def best(self) -> RunResult | None:
        """The winner, if any run ended well."""
        return self.results[0] if self.results and not self.results[0].error else None

    def write(self, folder: Path) -> None:
        """Writes ``leaderboard.csv`` and ``leaderboard.md``, each in one atomic step."""
        write_table(folder / "leaderboard.csv", COLUMNS, self._rows())
        with replace_file(folder / "leaderboard.md") as file:
            file.write(self.markdown().encode())

    def markdown(self) -> str:
        """The table in Markdown; the column of errors only if there is one."""
        columns = COLUMNS if any(r.error for r in self.results) else COLUMNS[:-1]
        rows = [row[: len(columns)] for row in self._rows()]
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        table = [columns, ["-" * width for width in widths], *rows]
        lines = (
            "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
            for row in table
        )
        return "\n".join(lines) + "\n"

    def _rows(self) -> list[list[str]]:
        return [
            [
                str(rank),
                result.head,
                f"{result.lr:g}",
                str(result.seed),
                "" if result.error else f"{result.val_macro_f1:.4f}",
                "" if result.error else f"{result.val_accuracy:.4f}",
                str(result.epochs),
                f"{result.seconds:.1f}",
                result.checkpoint,
                result.error,
            ]
            for rank, result in enumerate(self.results, start=1)
        ]


def _rank(result: RunResult) -> tuple[bool, float, float, float, float]:
    loss = math.inf if math.isnan(result.val_loss) else result.val_loss
    return bool(result.error), -result.val_macro_f1, -result.val_accuracy, loss, result.seconds
