"""What came of one run of a grid."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from lazarus_pl.data.atomic import replace_file

_NAME = "result.json"


@dataclass(frozen=True)
class RunResult:
    """One row of the leaderboard.

    Attributes:
        run: The run's name, and its folder's.
        head: Which config.
        lr: Learning rate.
        seed: Of weights and order.
        val_macro_f1: Of the best epoch.
        val_accuracy: Of the same epoch.
        epochs: Epochs trained.
        seconds: Time of the run.
        checkpoint: Path of the best epoch's checkpoint, relative to the grid's folder.
        digest: Of all that determines the run; a finished run with the same digest is not
            repeated.
        error: Why the run failed, or nothing.
        val_loss: Of the same epoch; NaN where it is not known.
    """

    run: str
    head: str
    lr: float
    seed: int
    val_macro_f1: float
    val_accuracy: float
    epochs: int
    seconds: float
    checkpoint: str
    digest: str
    error: str = ""
    val_loss: float = math.nan

    def write(self, folder: Path) -> None:
        """Writes ``result.json`` in one atomic step."""
        with replace_file(folder / _NAME) as file:
            file.write(json.dumps(asdict(self), indent=2).encode())

    @staticmethod
    def remove(folder: Path) -> None:
        """Takes away what :meth:`write` wrote."""
        (folder / _NAME).unlink(missing_ok=True)

    @classmethod
    def read(cls, folder: Path) -> RunResult | None:
        """Reads what :meth:`write` wrote, or None if there is nothing that can be read."""
        try:
            return cls(**json.loads((folder / _NAME).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
