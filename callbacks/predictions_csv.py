"""Predicted probabilities as a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter


class PredictionsCSV(BasePredictionWriter):
    """Writes what ``predict_step`` returns, one row a sample.

    ``predict_step`` must return a mapping with ``index`` ``(B,)`` and ``probability``
    ``(B, classes)``. Columns are index, predicted, probability, and one a class; names are those
    of the module's ``class_names`` if it has them. If the DataModule has ``item_names``, a sequence
    of texts by index, they are the first column, called file. Under several devices each writes its
    own file, with its rank in the name.

    Args:
        path: The file; relative paths lie in the trainer's log folder.

    Example:
        >>> trainer = Trainer(callbacks=[PredictionsCSV("predictions.csv")])  # doctest: +SKIP
        >>> trainer.predict(module, datamodule=data)  # doctest: +SKIP
    """

    def __init__(self, path: str = "predictions.csv") -> None:
        super().__init__(write_interval="epoch")
        self.path = path

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Writes the table."""
        path = self.path_of(trainer)
        items = getattr(getattr(trainer, "datamodule", None), "item_names", None)
        path.parent.mkdir(parents=True, exist_ok=True)
        batches = [batch for batch in _flat(predictions) if len(batch["index"])]
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file)
            for number, batch in enumerate(batches):
                probability = batch["probability"].float().cpu()
                names = _class_names(pl_module, probability.shape[1])
                if number == 0:
                    first = [] if items is None else ["file"]
                    writer.writerow([*first, "index", "predicted", "probability", *names])
                for index, row in zip(batch["index"].tolist(), probability, strict=True):
                    best = int(row.argmax())
                    values = (f"{value:.6f}" for value in row.tolist())
                    first = [] if items is None else [items[index]]
                    writer.writerow([*first, index, names[best], f"{row[best]:.6f}", *values])

    def path_of(self, trainer: Trainer) -> Path:
        """Where the table of a run is written."""
        path = Path(trainer.log_dir or trainer.default_root_dir) / self.path
        if trainer.world_size == 1:
            return path
        return path.with_stem(f"{path.stem}-{trainer.global_rank}")


def _flat(predictions: Sequence[Any]) -> list[Mapping[str, Any]]:
    """One list of batches, whether there was one dataloader or several."""
    return [
        batch
        for item in predictions
        for batch in ([item] if isinstance(item, Mapping) else _flat(item))
    ]


def _class_names(module: LightningModule, classes: int) -> list[str]:
    names = getattr(module, "class_names", None)
    return [str(name) for name in names] if names else [str(number) for number in range(classes)]
