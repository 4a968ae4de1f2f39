"""Prediction sets with a coverage that is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lazarus_pl.doubt.leaf_quantile import leaf_quantile


def fit_set_threshold(
    probabilities: Tensor, target: Tensor, coverage: float, groups: Sequence[str] | None = None
) -> float:
    """The probability from which on a class belongs to a photo's prediction set.

    Split conformal prediction with the score of the least ambiguous sets (LAC; Sadinle, Lei and
    Wasserman 2019, arXiv:1609.00451): of photos that are exchangeable with these, at least the
    share ``coverage`` has its true class in its set. A set may be empty, or hold several classes.

    With groups the share is that of new leaves, see
    :func:`~lazarus_pl.doubt.leaf_quantile.leaf_quantile`.

    These are a few lines of our own since classifying needs the threshold alone: MAPIE, which the
    tests compare with, wraps an estimator and keeps the threshold to itself.

    Args:
        probabilities: Of photos that the head was not trained on, ``(N, classes)``.
        target: Their classes, ``(N,)``.
        coverage: Share of photos, above 0 and below 1.
        groups: Leaf of each photo; each is one of its own without them.

    Returns:
        The threshold; 0, with which every class is in every set, where there are too few leaves to
        promise more.
    """
    of_truth = probabilities[torch.arange(len(target)), target]
    limit = leaf_quantile(-of_truth, coverage, groups)
    return 0.0 if limit is None else -limit
