"""The LightningModule that trains several heads on one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lazarus_pl.tasks.adamw_with_cosine import adamw_with_cosine
from lazarus_pl.tasks.stacked_run import StackedRun


class StackedTask(LightningModule):
    """Trains runs side by side; each comes out as if it had been trained alone.

    Batches are read and standardised once for all runs, the loop and the optimizer's step are paid
    for once, and each run has its own weights, random numbers, states of the optimizer, schedule,
    scores, early stopping, checkpoint and logger. Weights are not stacked into one tensor: a
    matrix product of the batch with each run's weights gives the same numbers whoever else trains.

    Args:
        runs: All of the same data and seed, without mixup.
        tell: Is told of each run as soon as it is done.
    """

    def __init__(
        self, runs: Sequence[StackedRun], tell: Callable[[StackedRun], None] = lambda run: None
    ) -> None:
        super().__init__()
        self._tell = tell
        self.runs = list(runs)
        self.tasks = nn.ModuleList(run.task for run in runs)
        self._running = self.runs
        self._saved: StackedRun | None = None

    def setup(self, stage: str) -> None:
        """Takes the statistics of the training photos, once for all."""
        for run in self.runs:
            run.task.trainer = self.trainer
        first, *others = (run.task for run in self.runs)
        first.setup(stage)
        for task in others:
            task.standardise.load_state_dict(first.standardise.state_dict())

    def on_fit_start(self) -> None:
        """Opens the logs."""
        for run in self.runs:
            run.begin()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One AdamW and one schedule, with a group for each run."""
        groups = [group for run in self.runs for group in run.task.optimizer_groups()]
        warmups = [run.task.warmup for run in self.runs]
        return adamw_with_cosine(self.trainer, self.device, groups, warmups)

    def on_train_epoch_start(self) -> None:
        """Leaves out runs that have stopped."""
        self._running = [run for run in self.runs if not run.stopped]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The sum of the losses; a run that has stopped gets no gradients, and so no step."""
        features = self._standardised(batch)
        return torch.stack([run.learn(batch, features) for run in self._running]).sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Scores one batch of val."""
        features = self._standardised(batch)
        for run in self._running:
            run.judge(batch, features)

    def on_validation_end(self) -> None:
        """Logs scores."""
        for run in self._running:
            run.end_validation(self.trainer)

    def on_train_epoch_end(self) -> None:
        """Logs scores and saves what is better than before; ends where all runs have stopped."""
        for run in self._running:
            run.end_epoch(self.trainer)
            if run.update_best():
                self._save(run)
            if run.stopped:
                self._end(run)
        if all(run.stopped for run in self.runs):
            self.trainer.should_stop = True

    def on_fit_end(self) -> None:
        """Ends the runs that did not stop by themselves."""
        for run in self.runs:
            if not run.stopped:
                self._end(run)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Writes the checkpoint of one run."""
        if self._saved is not None:
            self._saved.fill(checkpoint, self.runs.index(self._saved), self.trainer)

    def _standardised(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return self.runs[0].task.standardised(batch["features"])

    def _end(self, run: StackedRun) -> None:
        run.end()
        self._tell(run)

    def _save(self, run: StackedRun) -> None:
        self._saved = run
        self.trainer.save_checkpoint(run.best)
        self._saved = None
