"""A grid that two processes train."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from lazarus_pl.grid.grid_progress import GridProgress
from lazarus_pl.grid.grid_spec import GridRun
from lazarus_pl.grid.grid_worker import GridWorker
from lazarus_pl.grid.part_claims import PartClaims
from lazarus_pl.grid.run_trainer import RunTrainer
from lazarus_pl.limited_threads import limited_threads

_SECONDS_BETWEEN_LOOKS = 0.2


class SharedTraining:
    """Trains the parts of a grid in this process and a second one, which take them in turn.

    Each has half of the cores for all that it does, so that no score depends on who trained a
    part.

    Args:
        trainer: Of the grid.
        parts: Runs that can be trained together, the largest part first.
        worker: The second process, not yet started.
        out: The grid's folder.
    """

    def __init__(
        self,
        trainer: RunTrainer,
        parts: Sequence[Sequence[GridRun]],
        worker: GridWorker,
        out: Path,
    ) -> None:
        self._trainer = trainer
        self._parts = parts
        self._worker = worker
        self._claims = PartClaims(out)

    def train(self, progress: GridProgress) -> None:
        """Trains all parts.

        Args:
            progress: Is told.

        Raises:
            OSError: If the disk is full or read-only.
        """
        with limited_threads(self._worker.threads):
            with self._worker:
                self._train_free(progress)
                self._wait(progress)
            # what it did is there, what it did not is done now
            for part in self._parts:
                self._trainer.train(part, progress.of(part))
            progress.look()

    def _train_free(self, progress: GridProgress) -> None:
        for part in self._claims.free(self._parts):
            self._trainer.train(part, progress.of(part))

    def _wait(self, progress: GridProgress) -> None:
        while self._worker.is_at_work:
            progress.look("waiting for a second process")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
