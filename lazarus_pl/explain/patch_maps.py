"""Attention and evidence, as each head has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lazarus_pl.heads.attention_head import AttentionHead
from lazarus_pl.heads.head import Head
from lazarus_pl.heads.patch_head import PatchHead

# attention and evidence ``(B, H, W)`` of class indices ``(B,)``
MapsOf = Callable[[Tensor], tuple[Tensor, Tensor]]


def patch_maps(head: Head, features: Mapping[str, Tensor]) -> tuple[Tensor, MapsOf] | None:
    """Reads photos once, for their diagnosis and for the maps of any class.

    An attention head has no scores of patches: its evidence is the attention times what its
    classifier says of the patch alone, against the mean of the classes.

    Args:
        head: In evaluation mode.
        features: Standardised grids ``(B, H, W, C)`` by layer.

    Returns:
        Logits ``(B, K)``, and what gives attention and evidence, float32 ``(B, H, W)`` each, of
        class indices ``(B,)``; None from a head without patches.
    """
    if isinstance(head, PatchHead):
        return _of_patch_head(head, features)
    if isinstance(head, AttentionHead):
        return _of_attention_head(head, features)
    return None


def _of_patch_head(head: PatchHead, features: Mapping[str, Tensor]) -> tuple[Tensor, MapsOf]:
    reading = head.look(features)

    def maps_of(target: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(target))
        return reading.attention[rows, ..., target], head.evidence(reading, target)

    return reading.logits, maps_of


def _of_attention_head(
    head: AttentionHead, features: Mapping[str, Tensor]
) -> tuple[Tensor, MapsOf]:
    logits, attention = head.attend(features)

    def maps_of(target: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(target))
        joined = [spread(features[name], attention.shape[1:3]) for name in head.grids]
        scores = head.classifier(torch.cat(joined, dim=-1)).float()
        contrast = scores[rows, ..., target] - scores.mean(dim=-1)
        return attention, attention * contrast

    return logits, maps_of


def spread(values: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Repeats coarse cells ``(B, h, w, C)`` over ``(B, H, W, C)``."""
    return F.interpolate(values.permute(0, 3, 1, 2), tuple(shape), mode="nearest").permute(
        0, 2, 3, 1
    )
