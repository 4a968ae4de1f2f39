"""Features of mean 0 and deviation 1, with statistics that travel in the checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        values = torch.addcmul(-self.mean * self.scale, features.float(), self.scale)
        kind = features.device.type
        if not torch.is_autocast_enabled(kind):
            return values
        return values.to(torch.get_autocast_dtype(kind))
