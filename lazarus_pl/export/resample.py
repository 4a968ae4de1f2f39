"""Resizing of photos inside a graph, as Pillow does it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lazarus_pl.errors import LazarusError

# Pillow's own: Keys' cubic convolution with a = -0.5, and the reach of each filter
_A = -0.5
_REACH = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}


class Resample(nn.Module):
    """Stretches photos of any size to a square, antialiased.

    Two matrix products and a rounding after each, with weights that the photo's size determines:
    what Pillow's ``resize`` computes (``Resample.c``), to one grey level of 255. Where newer
    versions of Pillow take the height before the width, as for tall photos, single pixels of noise
    differ by a few levels. A graph's own ``Resize`` would depend on the runtime: few of them know
    its attribute ``antialias``.

    Args:
        size: Side of the square in pixels.
        interpolation: ``bilinear``, ``bicubic`` or ``lanczos``.

    Raises:
        LazarusError: If the interpolation is another one.
    """

    def __init__(self, size: int, interpolation: str) -> None:
        super().__init__()
        if interpolation not in _REACH:
            raise LazarusError(
                f"a graph cannot resize with '{interpolation}': extract with an encoder that takes "
                f"{', '.join(_REACH)}"
            )
        self.size = size
        self.interpolation = interpolation

    def forward(self, photos: Tensor) -> Tensor:
        """Resizes photos.

        Args:
            photos: uint8 ``(B, H, W, 3)``.

        Returns:
            float32 ``(B, S, S, 3)`` with whole values from 0 to 255.
        """
        values = photos.permute(0, 3, 1, 2).float()
        wide = _rounded(values @ self._weights(photos.shape[2]).T)
        return _rounded(self._weights(photos.shape[1]) @ wide).permute(0, 2, 3, 1)

    def _weights(self, length: int) -> Tensor:
        """What each of the new pixels takes of each of the old ones, ``(S, length)``."""
        old = torch.arange(length, dtype=torch.float32)
        # of the tensor and not of the number: the graph is for any size
        scale = (old[-1:] + 1) / self.size
        centers = (torch.arange(self.size, dtype=torch.float32) + 0.5) * scale
        offsets = (old[None] + 0.5 - centers[:, None]) / scale.clamp_min(1.0)
        weights = self._filter(offsets.abs())
        return weights / weights.sum(dim=1, keepdim=True)

    def _filter(self, x: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        if self.interpolation == "bilinear":
            return (1 - x).clamp_min(0)
        if self.interpolation == "bicubic":
            near = ((_A + 2) * x - (_A + 3)) * x * x + 1
            far = (((x - 5) * x + 8) * x - 4) * _A
            return torch.where(x < 1, near, torch.where(x < _REACH["bicubic"], far, zero))
        reach = _REACH["lanczos"]
        return torch.where(x < reach, torch.sinc(x) * torch.sinc(x / reach), zero)


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255)
