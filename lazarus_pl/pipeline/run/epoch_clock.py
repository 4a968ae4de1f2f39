"""Keeps a training within its time, and shows how far it is."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.progress import Progress


class EpochClock(Callback):
    """Ends a training after a whole epoch when there is no time for another one.

    Args:
        title: What is being done.
        schedule: Told how long the whole training will take.
        seconds: Time from the start of the fit; None for no limit.
        to_the_end: Whether a part is worth nothing: it ends as soon as the rest does not fit.

    Attributes:
        ended_early: Whether there was no time for another epoch.
    """

    def __init__(
        self, title: str, schedule: Schedule, seconds: float | None, to_the_end: bool = False
    ) -> None:
        super().__init__()
        self.ended_early = False
        self._title = title
        self._schedule = schedule
        self._seconds = seconds
        self._to_the_end = to_the_end
        self._began = self._epoch_began = time.monotonic()
        self._longest = 0.0
        self._first = 0
        self._progress: Progress | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The clock starts."""
        self._began = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The bar appears."""
        self._epoch_began = time.monotonic()
        self._first = trainer.current_epoch
        epochs = (trainer.max_epochs or 1) - self._first
        steps = max(1, epochs * int(trainer.num_training_batches))
        self._progress = Progress(self._title, steps, "steps").__enter__()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401  # Lightning's signature
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        """The bar moves."""
        if self._progress:
            epoch = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
            self._progress.advance(note=epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decides whether there is time for another epoch."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._epoch_began)
        self._epoch_began = now
        done = trainer.current_epoch + 1
        left = (trainer.max_epochs or done) - done
        taken = now - self._began
        self._schedule.revise(taken + left * taken / max(done - self._first, 1))
        needed = self._longest * (left if self._to_the_end else 1)
        if self._seconds is not None and left and taken + needed > self._seconds:
            self.ended_early = True
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The bar goes."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """The bar goes."""
        self._close()

    def _close(self) -> None:
        if self._progress:
            self._progress.__exit__(None, None, None)
            self._progress = None
