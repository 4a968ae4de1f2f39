"""Pixels as torchvision's transforms see them, over memory as photos have it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def as_tensor(photo: npt.NDArray[np.uint8]) -> Tensor:
    """A photo ``(H, W, 3)`` as ``(3, H, W)``, without a copy."""
    return torch.from_numpy(photo).permute(2, 0, 1)


def as_photo(pixels: Tensor) -> npt.NDArray[np.uint8]:
    """Pixels ``(3, H, W)`` as ``(H, W, 3)``; a copy only if they are not of :func:`as_tensor`."""
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
