"""Grids turned and mirrored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def turn_grids(features: Mapping[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """Turns the grids of each photo by a multiple of 90 degrees and mirrors half of them.

    Nearly what the encoder would have made of the photo so turned, without encoding it. Grids that
    are not square are mirrored only.

    Args:
        features: Grids ``(B, H, W, C)`` by layer; those of a photo are turned alike.
        rng: Draws one of the eight ways for each photo.
    """
    draws = rng.random((3, len(next(iter(features.values()))))) < 0.5
    return {layer: _turned(values, draws) for layer, values in features.items()}


def _turned(values: Tensor, draws: np.typing.NDArray[np.bool_]) -> Tensor:
    down, across, over = (
        torch.from_numpy(each).to(values.device)[:, None, None, None] for each in draws
    )
    values = torch.where(down, values.flip(1), values)
    values = torch.where(across, values.flip(2), values)
    if values.shape[1] != values.shape[2]:
        return values
    return torch.where(over, values.transpose(1, 2), values)
