"""Grids of patches of which a mask says where there are any."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def kept_patches(grid: Tensor, mask: Tensor | None) -> Tensor:
    """Where a grid ``(B, H, W, C)`` has patches, bool ``(B, H, W)``: everywhere without a mask."""
    return grid.new_ones(grid.shape[:3], dtype=torch.bool) if mask is None else mask


def patch_shares(kept: Tensor) -> Tensor:
    """What each patch weighs in its photo, ``(B, P)``, to a sum of 1; photos weigh alike."""
    flat = kept.flatten(1).float()
    return flat / flat.sum(dim=1, keepdim=True).clamp_min(1)


def enlarge_grid(values: Tensor, shape: Sequence[int], mask: Tensor | None) -> Tensor:
    """Coarse cells ``(B, h, w, D)`` bilinearly over ``(B, H, W, D)``; padding is not mixed in."""
    if values.shape[1:3] == tuple(shape):
        return values
    coarse = values.permute(0, 3, 1, 2)
    if mask is None:
        return F.interpolate(coarse, shape, mode="bilinear").permute(0, 2, 3, 1)
    there = F.adaptive_max_pool2d(mask.to(values.dtype), (values.shape[1], values.shape[2]))[
        :, None
    ]
    total, weight = (
        F.interpolate(part, shape, mode="bilinear")
        for part in (coarse.masked_fill(there == 0, 0), there)
    )
    return (total / weight.clamp_min(1e-3)).permute(0, 2, 3, 1)


def smooth_maps(maps: Tensor, kept: Tensor) -> Tensor:
    """Maps ``(B, H, W, K)`` under a kernel of 1, 2, 1 each way; where one ends it repeats."""
    there = kept[..., None]
    for side in (1, 2):
        total = maps / 2
        for step in (1, -1):
            beside = maps.roll(step, side)
            known = there.roll(step, side)
            edge = 0 if step == 1 else known.shape[side] - 1
            known.select(side, edge).fill_(False)
            total = total + torch.where(known, beside, maps) / 4
        maps = total
    return maps


def standardise_patches(values: Tensor, kept: Tensor) -> Tensor:
    """Each photo's ``(B, P)`` at mean 0 and deviation 1 over the patches that there are."""
    each = patch_shares(kept)
    centred = values - (values * each).sum(dim=1, keepdim=True)
    deviation = (centred.square() * each).sum(dim=1, keepdim=True).sqrt().clamp_min(1e-6)
    return centred / deviation
