"""A run before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import SaveConfigCallback

from callbacks.among_callbacks import among_callbacks
from lazarus_pl.lightning_cli import LazarusCLI
from lazarus_pl.tasks.stacked_run import StackedRun


class BuiltRun(LazarusCLI):
    """Task, data and trainer as ``lazarus fit`` builds them, for someone else to train.

    Args:
        args: The command line of ``lazarus fit``.

    Attributes:
        random: State of the random numbers that training would begin with.
    """

    def __init__(self, args: Sequence[str]) -> None:
        super().__init__(args)
        self.random = torch.get_rng_state()

    @property
    def seed(self) -> int:
        """Of weights and order."""
        return int(self.config["fit"]["seed_everything"])

    def stacked(self) -> StackedRun:
        """The run, to be trained beside others."""
        logger: Any = self.trainer.logger
        return StackedRun(self.model, among_callbacks(self.trainer, Callback), logger, self.random)

    def write_config(self) -> None:
        """Writes config.yaml, as the trainer would when training starts."""
        for callback in among_callbacks(self.trainer, SaveConfigCallback):
            callback.setup(self.trainer, self.model, "fit")

    def _run_subcommand(self, subcommand: str) -> None:
        """Trains nothing."""
