"""Prediction sets with a coverage that is chosen."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fit_set_threshold(probabilities: Tensor, target: Tensor, coverage: float) -> float:
    """The probability from which on a class belongs to a photo's prediction set.

    Split conformal prediction with the score of the least ambiguous sets (LAC; Sadinle, Lei and
    Wasserman 2019, arXiv:1609.00451): of photos that are exchangeable with these, at least the
    share ``coverage`` has its true class in its set. A set may be empty, or hold several classes.

    These are four lines of our own since classifying needs the threshold alone: MAPIE, which the
    tests compare with, wraps an estimator and keeps the threshold to itself.

    Args:
        probabilities: Of photos that the head was not trained on, ``(N, classes)``.
        target: Their classes, ``(N,)``.
        coverage: Share of photos, above 0 and below 1.

    Returns:
        The threshold; 0, with which every class is in every set, where N is too small to promise
        more.
    """
    rank = math.ceil((len(target) + 1) * coverage)
    if rank > len(target):
        return 0.0
    of_truth = probabilities[torch.arange(len(target)), target]
    return float(of_truth.sort(descending=True).values[rank - 1])
