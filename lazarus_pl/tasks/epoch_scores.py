"""What a task is worth on one side of the split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, SumMetric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassRecall,
)

_BINS = 15


class EpochScores(nn.Module):
    """Sums up batches of one side; macro-F1 is the score that selects.

    Args:
        side: ``train``, ``val`` or ``test``: where the names of the scores begin.
        class_names: In the order of their indices.
    """

    _nothing: Tensor

    def __init__(self, side: str, class_names: Sequence[str]) -> None:
        super().__init__()
        classes = len(class_names)
        self._side = side
        nothing = torch.zeros(classes, classes, dtype=torch.long)
        self.register_buffer("_nothing", nothing, persistent=False)
        # a loss that is not finite must be seen as such; so told, MeanMetric ignores its weights
        self._losses = SumMetric(nan_strategy="disable")
        self._counted = SumMetric(nan_strategy="disable")
        self._calibrated = MulticlassCalibrationError(classes, n_bins=_BINS)
        averaged: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(classes, average="micro")
        }
        tables: dict[str, Metric | MetricCollection] = {}
        self._names: list[str] = []
        # of training photos, seen with dropout while the weights change, the rest says little
        if side != "train":
            averaged["macro_f1"] = MulticlassF1Score(classes, average="macro")
            averaged["calibration_error"] = MulticlassCalibrationError(classes, n_bins=_BINS)
            self._names = [f"{side}_recall/{name}" for name in class_names]
            tables["recall"] = MulticlassRecall(classes, average="none")
            tables["confusion"] = MulticlassConfusionMatrix(classes)
        self._averaged = MetricCollection(averaged, prefix=f"{side}/")
        self._tables = MetricCollection(tables)

    def update(
        self,
        loss: Tensor,
        logits: Tensor,
        target: Tensor,
        temperature: float | None = None,
        weight: Tensor | None = None,
    ) -> None:
        """Adds a batch.

        Args:
            loss: Its mean over photos.
            logits: ``(B, classes)``.
            target: Class indices ``(B,)``.
            temperature: Of a calibrated task; None where it is not.
            weight: What the batch's mean counts, where classes have weights: their sum over its
                photos. The number of photos if None.
        """
        counts = torch.tensor(float(len(target))) if weight is None else weight
        self._losses.update(loss.detach() * counts)
        self._counted.update(counts)
        self._averaged.update(logits, target)
        self._tables.update(logits, target)
        if temperature:
            self._calibrated.update((logits / temperature).softmax(dim=-1), target)

    def compute(self) -> tuple[dict[str, Tensor], Tensor]:
        """Scores by name, and the confusion matrix: the same on all devices.

        Returns:
            The scores, and counts ``(classes, classes)`` whose rows are the truth; zeros for train.
        """
        loss = self._losses.compute() / self._counted.compute()
        scores = {f"{self._side}/loss": loss, **self._averaged.compute()}
        if self._calibrated.update_called:
            scores[f"{self._side}/calibration_error_calibrated"] = self._calibrated.compute()
        tables = self._tables.compute()
        scores |= dict(zip(self._names, tables.get("recall", ()), strict=True))
        return scores, tables.get("confusion", self._nothing)

    def reset(self) -> None:
        """Starts anew."""
        for metric in (
            self._losses,
            self._counted,
            self._averaged,
            self._calibrated,
            self._tables,
        ):
            metric.reset()
