"""Whether a diagnosis depends on what a map marks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lazarus_pl.heads.head import Head

_STEPS = 12


@torch.no_grad()
def deletion_insertion(
    head: Head, features: Mapping[str, Tensor], maps: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Areas under the class's probability (Petsiuk et al. 2018, arXiv:1806.07421).

    A patch that is taken away becomes the mean patch of the training photos, as
    :meth:`~lazarus_pl.heads.head.Head.fade` says.

    Args:
        head: In evaluation mode.
        features: Standardised grids ``(B, H, W, C)`` by layer.
        maps: ``(B, H, W)`` of the finest grid, the likeliest patches highest.
        target: Class indices ``(B,)``.

    Returns:
        Deletion (lower is better) and insertion (higher is better), ``(B,)`` each, 0 to 1.
    """
    order = maps.flatten(1).argsort(dim=1, descending=True).argsort(dim=1).view_as(maps)
    share = order.float() / order[0].numel()
    logits = head.fade(features)
    curves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for step in range(_STEPS + 1):
        gone = (share < step / _STEPS).float()
        for curve, kept in zip(curves, (1 - gone, gone), strict=True):
            probability = logits(kept).float().softmax(dim=-1)
            curve.append(probability.gather(1, target[:, None])[:, 0])
    deletion, insertion = (torch.trapezoid(torch.stack(c), dx=1 / _STEPS, dim=0) for c in curves)
    return deletion, insertion
