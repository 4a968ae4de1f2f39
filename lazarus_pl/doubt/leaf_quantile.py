"""A limit that holds for new leaves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor


def leaf_quantile(
    scores: Tensor, share: float, groups: Sequence[str] | None = None
) -> float | None:
    """The score that at least a share of new leaves does not exceed (split conformal prediction).

    Photos of one leaf are no independent witnesses. With groups, each leaf counts as one, its
    photos in equal parts (pooling of groups; Dunn, Wasserman and Ramdas 2022, arXiv:1809.07441),
    and the share is that of new leaves, about.

    Args:
        scores: Of photos, ``(N,)``.
        share: Above 0 and below 1.
        groups: Leaf of each photo; each is one of its own without them.

    Returns:
        One of the scores, or None where there are too few leaves to promise the share.
    """
    leaves = range(len(scores)) if groups is None else groups
    photos = Counter(leaves)
    rank = math.ceil((len(photos) + 1) * share)
    if rank > len(photos):
        return None
    weights = torch.tensor([1 / photos[leaf] for leaf in leaves], dtype=torch.float64)
    ordered = scores.sort()
    reached = weights[ordered.indices].cumsum(dim=0) >= rank - 1e-9
    return float(ordered.values[int(reached.int().argmax())])
