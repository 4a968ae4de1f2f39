"""Where a photo is less green than the rest of it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def lost_green(pixels: Tensor, shape: tuple[int, int]) -> Tensor:
    """How far each patch has lost its green, on the scale of its photo, float32 ``(B, H, W)``.

    Red minus green, as deviations from the photo's mean: sound tissue reflects green, and what is
    dying of it turns yellow, brown or grey.

    Args:
        pixels: RGB uint8 ``(B, H, W, 3)`` of any size.
        shape: Patches ``(H, W)``.
    """
    red, green = pixels[..., 0].float(), pixels[..., 1].float()
    patches = F.adaptive_avg_pool2d(red - green, shape)
    mean = patches.mean(dim=(1, 2), keepdim=True)
    deviation = patches.std(dim=(1, 2), keepdim=True, correction=0)
    return (patches - mean) / deviation.clamp_min(1e-6)
