"""What a training was trained with stays beside it."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback


class SaveFitConfig(SaveConfigCallback):
    """Saves the config of a training; that of what scores or predicts only where there is none.

    A training's own config names its folder: ``lazarus validate -c RUN/config.yaml`` would write
    over it.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Saves it, unless it would take the place of a training's."""
        folder = trainer.log_dir
        there = folder is not None and Path(folder, self.config_filename).is_file()
        # one answer for all ranks: the first one writes the file
        if stage == "fit" or not trainer.strategy.broadcast(there):
            super().setup(trainer, pl_module, stage)
