"""How sure a score is, when photos of one leaf are no independent witnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lazarus_pl.pipeline.run.side_predictions import SidePredictions
from lazarus_pl.pipeline.run.side_scores import confusion_of, macro_f1_of

_DRAWS = 2000
_AT_ONCE = 50
_COVERAGE = 0.95


Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LeafBootstrap:
    """95 % percentile intervals of a cluster bootstrap.

    Leaf groups are drawn with replacement, whole and within each class, so that every draw has all
    classes; the score of each draw is computed anew, and the interval holds the middle 95 % of them
    (Efron and Tibshirani 1993, chapter 13; for clusters Davison and Hinkley 1997, section 3.8).
    It covers the choice of leaves in test, not that of training photos or of a seed. Where a class
    has few groups it is too narrow.

    Attributes:
        macro_f1: Lower and upper end.
        accuracy: Lower and upper end.
        groups: Number of leaf groups.
        error: Standard error of the macro-F1: the deviation of the draws.
        draws: Number of draws.
    """

    macro_f1: tuple[float, float]
    accuracy: tuple[float, float]
    groups: int
    error: float
    draws: int = _DRAWS

    @classmethod
    def of(cls, said: SidePredictions, seed: int = 0) -> LeafBootstrap | None:
        """Draws leaves of a side's predictions again and again.

        Returns:
            The intervals, or None where drawing leaves again and again shows nothing: where most
            classes have a single group, or every draw has the same score.
        """
        rng = np.random.default_rng(seed)
        classes = len(said.class_names)
        drawn: list[tuple[int, Counts, Counts]] = []
        number = several = present = 0
        groups = np.asarray(said.groups)
        for label in range(classes):
            mine = said.target == label
            names = np.unique(groups[mine])
            if not len(names):
                continue
            number += len(names)
            present += 1
            several += len(names) > 1
            parts = np.stack(
                [
                    confusion_of(said.target[one], said.predicted[one], classes)[label]
                    for one in (mine & (groups == name) for name in names)
                ]
            )
            times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), _DRAWS)
            drawn.append((label, times, parts))
        if 2 * several < present:
            return None
        observed = confusion_of(said.target, said.predicted, classes)
        occurs = observed.sum(axis=0) + observed.sum(axis=1) > 0
        scores = [_scores(drawn, occurs, start) for start in range(0, _DRAWS, _AT_ONCE)]
        macro_f1, accuracy = (np.concatenate(part) for part in zip(*scores, strict=True))
        if np.ptp(macro_f1) == 0:
            return None
        return cls(_middle(macro_f1), _middle(accuracy), number, float(macro_f1.std()))


def _scores(
    drawn: Sequence[tuple[int, Counts, Counts]], occurs: npt.NDArray[np.bool_], start: int
) -> tuple[Values, Values]:
    """Macro-F1 and accuracy of a few draws: a thousand classes' matrices do not fit all at once.

    The classes that count are the same in every draw.
    """
    classes = len(occurs)
    some = slice(start, start + _AT_ONCE)
    total = np.zeros((min(_AT_ONCE, _DRAWS - start), classes, classes))
    for label, times, parts in drawn:
        total[:, label] = times[some] @ parts
    return macro_f1_of(total, occurs), np.trace(total, axis1=1, axis2=2) / total.sum(axis=(1, 2))


def _middle(values: Values) -> tuple[float, float]:
    outside = (1 - _COVERAGE) / 2
    low, high = np.quantile(values, [outside, 1 - outside])
    return float(low), float(high)
