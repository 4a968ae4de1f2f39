"""Features of mean 0 and deviation 1, with statistics that travel in the checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# values, half a megabyte of them in float32: two parts fit the cache of a core
_PART = 1 << 17


class Standardise(nn.Module):
    """Shifts and scales every channel; does nothing until it is given statistics.

    Args:
        channels: Size of the last dimension.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Takes the statistics of the training photos, ``(C,)`` each.

        A channel that never changes is shifted only.
        """
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-4, 1 / deviation.clamp_min(1e-4), 1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Features of any float dtype, channels last, to the same shape.

        In float32, and then in autocast's dtype where there is one: else each layer that reads
        them would convert them again.
        """
        kind = features.device.type
        dtype = torch.float32
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        shift = -self.mean * self.scale
        if kind == "cpu" and features.dtype == torch.float16 and not features.requires_grad:
            return self._in_parts(features, shift, dtype)
        return torch.addcmul(shift, features.float(), self.scale).to(dtype)

    def _in_parts(self, features: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
        """The same, a few rows at once: what lies between stays in the processor's cache."""
        out = torch.empty(features.shape, dtype=dtype)
        rows = max(1, _PART // max(1, features[:1].numel()))
        for part, given in zip(torch.split(out, rows), torch.split(features, rows), strict=True):
            part.copy_(torch.addcmul(shift, given.float(), self.scale))
        return out
