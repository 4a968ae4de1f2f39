"""Cached grids flipped as a photo can be."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def flip_grids(grids: Tensor, rng: np.random.Generator) -> Tensor:
    """Flips each grid along both sides and transposes it, each with a chance of a half.

    What an encoder says of a flipped photo is not quite its flipped grid (the cosine of ``grid16``
    of an EfficientNet-Lite0 is 0.80 for left and right, 0.53 for the transpose): it is another
    view, which costs nothing.

    Args:
        grids: ``(B, H, W, C)``.
        rng: Draws which.

    Returns:
        The same shape; grids that are not square are not transposed.
    """
    drawn = torch.from_numpy(rng.random((3, len(grids), 1, 1, 1)) < 0.5)
    keep_rows, keep_columns, keep_axes = drawn.to(grids.device)
    grids = torch.where(keep_rows, grids, grids.flip(1))
    grids = torch.where(keep_columns, grids, grids.flip(2))
    if grids.shape[1] != grids.shape[2]:
        return grids
    return torch.where(keep_axes, grids, grids.transpose(1, 2))
