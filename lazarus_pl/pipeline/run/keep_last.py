"""Where a killed training goes on."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from callbacks.among_callbacks import among_callbacks


class KeepLast(Checkpoint):
    """Writes a checkpoint after every epoch; no file is cut short by a kill.

    ``save_last`` of a ``ModelCheckpoint`` with a monitor copies what is best, not what is last.

    Args:
        path: Of the file, written over each time.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Comes last: Lightning asks the first of all checkpoints for the best.

        And what the others know of the epoch is in the file.
        """
        others = [each for each in among_callbacks(trainer, Callback) if each is not self]
        # Lightning sets it without declaring it
        trainer.callbacks = [*others, self]  # type: ignore[attr-defined]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes it."""
        part = self._path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self._path)
