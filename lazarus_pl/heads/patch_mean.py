"""The mean patch of a photo."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean ``(B, C)`` of a grid ``(B, h, w, C)`` over the patches that there are.

    Args:
        values: Of any grid.
        mask: ``(B, H, W)`` of the finest grid, True where there is a patch; a photo without any
            gets zeros.
    """
    if mask is None:
        return values.mean(dim=(1, 2))
    kept = F.adaptive_avg_pool2d(mask.float(), (values.shape[1], values.shape[2]))
    weights = kept / kept.sum(dim=(1, 2), keepdim=True).clamp_min(1e-6)
    return torch.einsum("bhwd,bhw->bd", values, weights.to(values.dtype))
