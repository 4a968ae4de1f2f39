"""Patches that a training step reads."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding


def draw_patches(kept: Tensor, share: float, padded: bool = True) -> tuple[Tensor, Tensor]:
    """Draws as large a share of the patches of each photo, others at every call.

    Args:
        kept: bool ``(B, P)``, True where there is a patch.
        share: Of them, above 0.
        padded: Whether some are False.

    Returns:
        Places of patches ``(B, n)``, and which of them count: photos of fewer patches have fewer.
    """
    counts = count_drawn(kept, share)
    # without padding known on the CPU: nothing waits for the device
    most = int((counts if padded else count_drawn(torch.ones(1, kept.shape[1]), share)).max())
    order = torch.rand(kept.shape, device=kept.device) + kept
    places = order.topk(most, dim=1).indices
    there = torch.arange(most, device=kept.device) < counts
    return places, kept.gather(1, places) & there


def count_drawn(kept: Tensor, share: float) -> Tensor:
    """How many patches of each photo are drawn, ``(B, 1)``."""
    there = kept.sum(dim=1, keepdim=True)
    return (there * share).round().clamp_min(1).minimum(there)


def take_patches(values: Tensor, places: Tensor) -> Tensor:
    """Rows ``(B, n, D)`` of ``(B, P, D)``."""
    batch, patches, channels = values.shape
    first = patches * torch.arange(batch, device=places.device)[:, None]
    # whose gradient takes a third of gather's time on a CPU
    return embedding(places + first, values.reshape(batch * patches, channels))
