"""One model that may be chosen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Candidate:
    """A checkpoint and its score on val.

    Attributes:
        name: What people call it.
        stage: The stage that made it.
        checkpoint: Path relative to the run's folder.
        val_macro_f1: On all of val, in float32.
        val_accuracy: On the same photos.
        val_error: Standard error of the macro-F1, by which leaves are in val; None where they are
            too few.
        on_views: Whether it learnt from views of its photos.
    """

    name: str
    stage: str
    checkpoint: str
    val_macro_f1: float
    val_accuracy: float
    val_error: float | None = None
    on_views: bool = False

    def folder(self, out: Path) -> Path:
        """Where it was trained, in a run's folder."""
        return winner_of(out / "grid") if self.stage == "grid" else out / self.stage


def winner_of(grid: Path) -> Path:
    """The folder of the best run of a grid."""
    run = json.loads((grid / "summary.json").read_bytes())["run"]
    return grid / "runs" / str(run)
