"""Attention and evidence, as each head has them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lazarus_pl.heads.attention_head import AttentionHead
from lazarus_pl.heads.head import Head
from lazarus_pl.heads.patch_head import PatchHead


def patch_maps(
    head: Head, features: Mapping[str, Tensor], target: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Reads attention and evidence off a head.

    An attention head has no scores of patches: its evidence is the attention times what its
    classifier says of the patch alone, against the mean of the classes.

    Args:
        head: In evaluation mode.
        features: Standardised grids ``(B, H, W, C)`` by layer.
        target: Class indices ``(B,)``.

    Returns:
        Both float32 ``(B, H, W)``, or None from a head without patches.
    """
    rows = torch.arange(len(target))
    if isinstance(head, PatchHead):
        reading = head.look(features)
        return reading.attention[rows, ..., target], head.evidence(reading, target)
    if isinstance(head, AttentionHead):
        _, attention = head.attend(features)
        joined = [spread(features[name], attention.shape[1:3]) for name in head.grids]
        scores = head.classifier(torch.cat(joined, dim=-1)).float()
        contrast = scores[rows, ..., target] - scores.mean(dim=-1)
        return attention, attention * contrast
    return None


def spread(values: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Repeats coarse cells ``(B, h, w, C)`` over ``(B, H, W, C)``."""
    return F.interpolate(values.permute(0, 3, 1, 2), tuple(shape), mode="nearest").permute(
        0, 2, 3, 1
    )
