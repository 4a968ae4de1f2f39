"""Grids of different sizes as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Grid = npt.NDArray[np.float16]


def pad_grids(
    grids: Mapping[str, Sequence[Grid]],
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Lays grids into the upper left corners of grids that are large enough for all.

    Args:
        grids: ``(H, W, C)`` of ``B`` photos by layer.

    Returns:
        float16 ``(B, H, W, C)`` by layer, 0 where there is no cell; and a mask, bool ``(B, H, W)``
        of the finest layer, True where there is one, or None where all grids are of one size.
    """
    padded = {layer: _padded(each) for layer, each in grids.items()}
    finest = max(grids, key=lambda layer: grids[layer][0].shape[0])
    shapes = [grid.shape[:2] for grid in grids[finest]]
    if len(set(shapes)) == 1:
        return padded, None
    mask = torch.zeros(padded[finest].shape[:3], dtype=torch.bool)
    for row, (height, width) in zip(mask, shapes, strict=True):
        row[:height, :width] = True
    return padded, mask


def _padded(grids: Sequence[Grid]) -> Tensor:
    height, width = (max(grid.shape[side] for grid in grids) for side in (0, 1))
    out = np.zeros((len(grids), height, width, grids[0].shape[2]), dtype=np.float16)
    for place, grid in zip(out, grids, strict=True):
        place[: grid.shape[0], : grid.shape[1]] = grid
    return torch.from_numpy(out)
