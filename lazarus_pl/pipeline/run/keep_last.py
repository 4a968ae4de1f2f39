"""Where a killed training goes on."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer


class KeepLast(Callback):
    """Writes a checkpoint after every epoch; no file is cut short by a kill.

    Not a ``ModelCheckpoint``: Lightning takes the first of those for the one that knows the best,
    and its ``save_last`` copies what is best, not what is last.

    Args:
        path: Of the file, written over each time.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes it."""
        part = self._path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self._path)
