"""Prediction sets with a coverage that is chosen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor


def fit_set_threshold(
    probabilities: Tensor, target: Tensor, coverage: float, groups: Sequence[str] | None = None
) -> float:
    """The probability from which on a class belongs to a photo's prediction set.

    Split conformal prediction with the score of the least ambiguous sets (LAC; Sadinle, Lei and
    Wasserman 2019, arXiv:1609.00451): of photos that are exchangeable with these, at least the
    share ``coverage`` has its true class in its set. A set may be empty, or hold several classes.

    Photos of one leaf are no independent witnesses. With groups, each leaf counts as one, its
    photos in equal parts (pooling of groups; Dunn, Wasserman and Ramdas 2022, arXiv:1809.07441),
    and the share is that of new leaves, about.

    These are four lines of our own since classifying needs the threshold alone: MAPIE, which the
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
    leaves = range(len(target)) if groups is None else groups
    sizes = Counter(leaves)
    rank = math.ceil((len(sizes) + 1) * coverage)
    if rank > len(sizes):
        return 0.0
    weights = torch.tensor([1 / sizes[leaf] for leaf in leaves], dtype=torch.float64)
    of_truth = probabilities[torch.arange(len(target)), target].sort(descending=True)
    reached = weights[of_truth.indices].cumsum(dim=0) >= rank - 1e-9
    return float(of_truth.values[int(reached.int().argmax())])
