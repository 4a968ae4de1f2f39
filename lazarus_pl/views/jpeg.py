"""What JPEG does to a photo, as a transform beside torchvision's."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lazarus_pl.errors import LazarusError
from lazarus_pl.views.layout import as_photo, as_tensor


class JPEG(nn.Module):
    """Compresses a photo and reads it again.

    Stands in for torchvision's, whose coder is deprecated and absent from some builds.

    Args:
        quality: 1 to 100, or the lowest and the highest.

    Raises:
        LazarusError: If it is no quality.
    """

    def __init__(self, quality: int | Sequence[int]) -> None:
        super().__init__()
        ends = tuple(quality) if isinstance(quality, Sequence) else (quality, quality)
        if not _are_qualities(ends):
            raise LazarusError(f"quality {quality} cannot be: give 1 to 100, or two such numbers")
        self._low, self._high = ends

    def forward(self, pixels: Tensor) -> Tensor:
        """The photo, uint8 ``(3, H, W)``, after compression."""
        quality = int(torch.randint(self._low, self._high + 1, ()))
        photo = Image.fromarray(as_photo(pixels))
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as compressed:
            read = np.array(compressed.convert("RGB"))
        return as_tensor(read)


def _are_qualities(ends: Sequence[object]) -> TypeGuard[tuple[int, int]]:
    match ends:
        case [int() as low, int() as high]:
            return 1 <= low <= high <= 100
    return False
