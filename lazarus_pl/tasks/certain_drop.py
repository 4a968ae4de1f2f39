"""How far the recall of a class has fallen, chance left aside."""

from __future__ import annotations

import torch
from torch import Tensor

_Z = 1.96


def certain_drop(before: Tensor, now: Tensor, counts: Tensor) -> Tensor:
    """Lower ends of the 95 % intervals of falls in recall.

    A class with three photos loses a third of its recall by one photo, which says nothing. Method
    of Agresti and Caffo (2000, doi:10.1080/00031305.2000.10474560): one photo that is found and
    one that is not are added on both sides. It is for independent samples; of the same photos,
    as here, falls are more certain than it says.

    Args:
        before: Recall of each class, ``(classes,)``, in 0 to 1.
        now: The same later.
        counts: Photos of each class, ``(classes,)``.

    Returns:
        The falls that can be relied on, ``(classes,)``; below zero where there may be none.
    """
    total = counts + 2
    first, second = ((recall * counts + 1) / total for recall in (before, now))
    spread = (first * (1 - first) + second * (1 - second)) / total
    return first - second - _Z * torch.sqrt(spread)
