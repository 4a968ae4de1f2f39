"""What a checkpoint knows of its own limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from lazarus_pl.doubt.feature_distance import FeatureDistance
from lazarus_pl.doubt.fit_set_threshold import fit_set_threshold
from lazarus_pl.doubt.fit_temperature import fit_temperature
from lazarus_pl.doubt.leaf_quantile import leaf_quantile
from lazarus_pl.doubt.readings import Readings
from lazarus_pl.doubt.verdict import Verdict
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.read_checkpoint import read_checkpoint

_FORMAT = 1
_BINS = 15


@dataclass(frozen=True)
class Doubt:
    """Temperature, prediction sets and distance of one checkpoint.

    Attributes:
        temperature: Logits are divided by it.
        coverage: Share of photos like val whose prediction set holds their class.
        set_threshold: Probability from which on a class is in the set.
        false_alarm: Share of leaves like those of val that is called unknown.
        distance: How unlike the training photos a photo is.
        val: Figures of :meth:`measure` on val, on which all of this was fitted.
    """

    temperature: float
    coverage: float
    set_threshold: float
    false_alarm: float
    distance: FeatureDistance
    val: dict[str, float | None]

    @classmethod
    @torch.inference_mode()
    def fit(cls, train: Readings, val: Readings, coverage: float, false_alarm: float) -> Doubt:
        """Learns what is usual from train, and every number that decides from val.

        Args:
            train: Of training photos.
            val: Of photos that were not trained on.
            coverage: Share of prediction sets that hold the true class.
            false_alarm: Share of known leaves that may be called unknown.
        """
        temperature = fit_temperature(val.logits, val.target)
        probabilities = (val.logits / temperature).softmax(dim=-1)
        doubt = cls(
            temperature,
            coverage,
            fit_set_threshold(probabilities, val.target, coverage, val.groups),
            false_alarm,
            FeatureDistance.fit(train.features, val.features, false_alarm, val.groups),
            {},
        )
        doubt.val.update(doubt.measure(val))
        return doubt

    @property
    def no_promise(self) -> str:
        """Why every known leaf is unsure, where val had too few leaves; else nothing."""
        if self.set_threshold > 0:
            return ""
        enough = next(
            n for n in count(1) if leaf_quantile(torch.zeros(n), self.coverage) is not None
        )
        return (
            f"no photo is answered, since val has too few leaves to promise a coverage of "
            f"{self.coverage:g}, which takes {enough}: add photos, or run lazarus calibrate with a "
            "smaller --coverage"
        )

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated class probabilities ``(B, classes)``."""
        return (logits / self.temperature).softmax(dim=-1)

    def verdicts(self, probabilities: Tensor, distances: Tensor) -> list[Verdict]:
        """One a photo.

        Args:
            probabilities: Calibrated, ``(B, classes)``.
            distances: From the training photos, ``(B,)``.
        """
        return [
            Verdict(
                tuple(int(i) for i in row.argsort(descending=True) if row[i] >= self.set_threshold),
                float(distance),
            )
            for row, distance in zip(probabilities, distances, strict=True)
        ]

    @torch.inference_mode()
    def measure(self, readings: Readings) -> dict[str, float | None]:
        """How well it does on photos of known class.

        Returns:
            ``photos``; ``calibration_error_before`` and ``calibration_error`` (expected, 15 bins;
            Naeini et al. 2015) and ``loss_before`` and ``loss`` (cross-entropy), before and after
            the temperature; ``coverage`` and ``set_size`` of the prediction sets;
            ``answered``, ``unsure`` and ``unknown``, shares of the photos; ``accuracy``, and
            ``accuracy_answered`` of those that are answered, None if none is.
        """
        target = readings.target
        before, after = readings.logits.softmax(dim=-1), self.probabilities(readings.logits)
        verdicts = self.verdicts(after, self.distance(readings.features))
        pairs = list(zip(verdicts, target.tolist(), strict=True))
        answered = [verdict.label == label for verdict, label in pairs if verdict.label is not None]
        unknown = sum(not verdict.is_known for verdict in verdicts)
        count = max(1, len(pairs))
        return {
            "photos": len(pairs),
            "calibration_error_before": _calibration_error(before, target),
            "calibration_error": _calibration_error(after, target),
            "loss_before": _loss(before, target),
            "loss": _loss(after, target),
            "coverage": sum(label in verdict.candidates for verdict, label in pairs) / count,
            "set_size": sum(len(verdict.candidates) for verdict in verdicts) / count,
            "answered": len(answered) / count,
            "unsure": (len(pairs) - len(answered) - unknown) / count,
            "unknown": unknown / count,
            "accuracy": float((after.argmax(dim=-1) == target).float().mean()),
            "accuracy_answered": sum(answered) / len(answered) if answered else None,
        }

    def to_plain(self) -> dict[str, Any]:
        """Tensors and plain values, which ``torch.load(weights_only=True)`` takes."""
        return {
            "format": _FORMAT,
            "temperature": self.temperature,
            "coverage": self.coverage,
            "set_threshold": self.set_threshold,
            "false_alarm": self.false_alarm,
            "distance": dict(self.distance.state_dict()),
            "val": self.val,
        }

    @classmethod
    def of_checkpoint(cls, path: Path) -> Doubt | None:
        """What ``lazarus calibrate`` wrote into a checkpoint, or None.

        Raises:
            LazarusError: If the file is damaged or not ours.
        """
        content = read_checkpoint(path)["lazarus"].get("doubt")
        if content is None:
            return None
        try:
            return cls.from_plain(content)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise LazarusError(
                f"the calibration in '{path}' is damaged ({type(error).__name__}): run lazarus "
                "calibrate again"
            ) from error

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Doubt:
        """Reads what :meth:`to_plain` gave.

        Raises:
            KeyError: If something is missing.
            TypeError: If something is of another kind.
            ValueError: If a value cannot be.
            RuntimeError: If the tensors do not go together.
        """
        if content["format"] != _FORMAT:
            raise ValueError(f"doubt of format {content['format']}")
        tensors = content["distance"]
        distance = FeatureDistance(len(tensors["center"]))
        distance.load_state_dict(tensors)
        numbers = {
            name: float(content[name])
            for name in ("temperature", "coverage", "set_threshold", "false_alarm")
        }
        if not numbers["temperature"] > 0 or not all(t.isfinite().all() for t in tensors.values()):
            raise ValueError("doubt without sound numbers")
        return cls(
            **numbers,
            distance=distance.requires_grad_(False).eval(),
            val={
                str(name): None if value is None else float(value)
                for name, value in content["val"].items()
            },
        )


def _calibration_error(probabilities: Tensor, target: Tensor) -> float:
    classes = probabilities.shape[1]
    return float(multiclass_calibration_error(probabilities, target, classes, n_bins=_BINS))


def _loss(probabilities: Tensor, target: Tensor) -> float:
    of_truth = probabilities.double()[torch.arange(len(target)), target]
    return float(-of_truth.clamp_min(1e-12).log().mean())
