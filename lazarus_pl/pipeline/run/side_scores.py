"""Figures of merit of one side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.pipeline.run.side_predictions import SidePredictions

Counts = npt.NDArray[np.int64]

_BINS = 15


@dataclass(frozen=True)
class SideScores:
    """Scores of predictions.

    Attributes:
        macro_f1: Mean F1 over the classes that occur as truth or as prediction.
        accuracy: Share of photos that are named rightly.
        calibration_error: Expected calibration error over 15 bins of equal width (Guo et al. 2017,
            arXiv:1706.04599).
        confidence: Mean probability of the likeliest class.
        confusion: Photos by true class (row) and predicted class (column).
        classes: Precision, recall, F1, support and leaf groups by class.
        reliability: For each bin that has photos: their number, mean confidence and accuracy.
    """

    macro_f1: float
    accuracy: float
    calibration_error: float
    confidence: float
    confusion: list[list[int]]
    classes: Mapping[str, Mapping[str, float]]
    reliability: list[dict[str, float]]

    @classmethod
    def of(cls, said: SidePredictions) -> SideScores:
        """Scores predictions."""
        counts = confusion_of(said.target, said.predicted, len(said.class_names))
        bins = _reliability(said)
        total = max(len(said.target), 1)
        return cls(
            macro_f1=float(macro_f1_of(counts[None])[0]),
            accuracy=float(counts.trace() / total),
            calibration_error=sum(
                row["photos"] / total * abs(row["accuracy"] - row["confidence"]) for row in bins
            ),
            confidence=float(said.confidence.mean()),
            confusion=counts.tolist(),
            classes=_by_class(said, counts),
            reliability=bins,
        )


def confusion_of(target: Counts, predicted: Counts, classes: int) -> Counts:
    """Photos by true class (row) and predicted class (column)."""
    flat = np.bincount(target * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def macro_f1_of(
    confusions: npt.NDArray[Any], occurs: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float64]:
    """Macro-F1 of confusion matrices ``(B, classes, classes)``.

    Args:
        confusions: Photos by true class and predicted class.
        occurs: Which classes count, ``(classes,)``; by default those that each matrix has as truth
            or as prediction, as in scikit-learn.
    """
    right = np.diagonal(confusions, axis1=1, axis2=2).astype(np.float64)
    either = confusions.sum(axis=1) + confusions.sum(axis=2)
    f1 = np.divide(2 * right, either, out=np.zeros_like(right), where=either > 0)
    counted = (either > 0).sum(axis=1) if occurs is None else occurs.sum()
    mean: npt.NDArray[np.float64] = f1.sum(axis=1) / np.maximum(counted, 1)
    return mean


def _by_class(said: SidePredictions, counts: Counts) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    groups = np.asarray(said.groups)
    for number, name in enumerate(said.class_names):
        right, support = int(counts[number, number]), int(counts[number].sum())
        called = int(counts[:, number].sum())
        rows[name] = {
            "precision": right / called if called else 0.0,
            "recall": right / support if support else 0.0,
            "f1": 2 * right / (called + support) if called + support else 0.0,
            "support": support,
            "groups": len(set(groups[said.target == number])),
        }
    return rows


def _reliability(said: SidePredictions) -> list[dict[str, float]]:
    confidence = said.confidence
    right = said.predicted == said.target
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return [
        {
            "from": number / _BINS,
            "to": (number + 1) / _BINS,
            "photos": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(right[inside].mean()),
        }
        for number in range(_BINS)
        if (inside := place == number).any()
    ]
