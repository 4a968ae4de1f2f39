"""Cached grids turned as a photo can be."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def turn_grids(grids: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirrors each grid along both sides and along the diagonal, each with a chance of a half.

    What an encoder says of a turned photo is not quite its turned grid (the cosine of ``grid16`` of
    an EfficientNet-Lite0 is 0.80 for a left-right mirror, 0.53 for the diagonal): it is another
    view, which costs nothing.

    Args:
        grids: ``(B, H, W, C)``.
        rng: Draws which.

    Returns:
        The same shape; grids that are not square keep their diagonal.
    """
    upright, straight, square = torch.from_numpy(rng.random((3, len(grids), 1, 1, 1)) < 0.5).to(
        grids.device
    )
    grids = torch.where(upright, grids, grids.flip(1))
    grids = torch.where(straight, grids, grids.flip(2))
    if grids.shape[1] != grids.shape[2]:
        return grids
    return torch.where(square, grids, grids.transpose(1, 2))
