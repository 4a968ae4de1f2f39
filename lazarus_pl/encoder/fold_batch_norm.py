"""Batch normalisation as a part of the convolution before it."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Copies a frozen model without the batch normalisations that follow a convolution.

    In evaluation mode both are linear, so one convolution with other weights and a bias gives the
    same values in float32, at about twice the speed on a CPU. Neighbours are taken from the order
    in which modules were registered: compare the copy with the model before you trust it.

    Args:
        model: In evaluation mode; it is not changed.

    Returns:
        The copy.
    """
    folded = copy.deepcopy(model)
    _fold_children(folded)
    return folded


def _fold_children(module: nn.Module) -> None:
    convolution: nn.Conv2d | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and convolution is not None:
            fused = fuse_conv_bn_eval(convolution, child)
            convolution.weight, convolution.bias = fused.weight, fused.bias
            # timm's normalisation layers bring their activation with them
            after = [part for kind in ("drop", "act") if (part := getattr(child, kind, None))]
            setattr(module, name, nn.Sequential(*after))
        else:
            _fold_children(child)
        convolution = child if isinstance(child, nn.Conv2d) else None
