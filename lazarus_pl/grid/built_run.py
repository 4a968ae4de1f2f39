"""A run before it is trained."""

from __future__ import annotations

from lightning.pytorch.cli import SaveConfigCallback

from callbacks.among_callbacks import among_callbacks
from lazarus_pl.lightning_cli import LazarusCLI


class BuiltRun(LazarusCLI):
    """Task, data and trainer as ``lazarus fit`` builds them, for someone else to train."""

    def write_config(self) -> None:
        """Writes config.yaml, as the trainer would when training starts."""
        for callback in among_callbacks(self.trainer, SaveConfigCallback):
            callback.setup(self.trainer, self.model, "fit")

    def _run_subcommand(self, subcommand: str) -> None:
        """Trains nothing."""
