"""Attributions that need gradients: Integrated Gradients and Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lazarus_pl.explain.patch_maps import spread
from lazarus_pl.heads.head import Head
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.usable_memory import usable_memory

_STEPS = 64
# a photo's grids, their gradients and what a head keeps of them, measured and doubled
_BYTES_A_VALUE = 64


def integrated_gradients(
    head: Head, features: Mapping[str, Tensor], target: Tensor
) -> tuple[Tensor, Tensor]:
    """Attributes a logit to patches (Sundararajan et al. 2017, arXiv:1703.01365).

    The baseline is the mean patch of the training photos. DeepLift is silently wrong for the
    product of two gates, so it isn't offered.

    Args:
        head: In evaluation mode.
        features: Standardised grids ``(B, H, W, C)`` by layer.
        target: Class indices ``(B,)``.

    Returns:
        float32 ``(B, H, W)`` of the finest grid, and ``(B,)`` the share of the logit's rise that
        is missed.
    """
    from captum.attr import IntegratedGradients

    names = list(features)
    # features of inference mode take no gradient
    inputs = tuple(features[name].detach().clone().float() for name in names)
    baselines = tuple(torch.zeros_like(values) for values in inputs)

    def logits(*values: Tensor) -> Tensor:
        given: Tensor = head(dict(zip(names, values, strict=True)))
        return given

    parts, missed = IntegratedGradients(logits).attribute(
        inputs,
        baselines,
        target=target,
        n_steps=_STEPS,
        internal_batch_size=_batch_size(sum(values[0].numel() for values in inputs)),
        return_convergence_delta=True,
    )
    with torch.no_grad():
        rise = (logits(*inputs) - logits(*baselines)).gather(1, target[:, None])[:, 0]
    shape = max((part.shape[1:3] for part in parts), key=lambda size: size[0])
    total = torch.zeros(len(target), *shape)
    for part in parts:
        cells = part.sum(dim=-1, keepdim=True)
        share = cells[0].numel() / (shape[0] * shape[1])
        total += spread(cells * share, shape)[..., 0].float()
    return total.detach(), (missed.abs() / rise.abs().clamp_min(1e-6)).float()


def grad_cam(head: Head, features: Mapping[str, Tensor], target: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) on the coarsest grid that a head reads.

    Args:
        head: In evaluation mode.
        features: Standardised grids ``(B, H, W, C)`` by layer.
        target: Class indices ``(B,)``.

    Returns:
        float32 ``(B, h, w)`` of the coarsest grid, 0 and above.
    """
    name = min(features, key=lambda layer: features[layer].shape[1])
    values = features[name].detach().clone().requires_grad_(True)
    with torch.enable_grad():
        logits = head({**features, name: values}).gather(1, target[:, None]).sum()
        (gradient,) = torch.autograd.grad(logits, values)
    return F.relu((gradient.mean(dim=(1, 2), keepdim=True) * values).sum(dim=-1)).detach()


def grad_cam_of_pooled(
    task: ClassificationTask, last: Tensor, pool: Callable[[Tensor], Tensor], target: Tensor
) -> Tensor:
    """Grad-CAM for heads that read the pooled layer.

    Args:
        task: In evaluation mode.
        last: The backbone's last map ``(B, C, h, w)``.
        pool: What makes the pooled layer of it.
        target: Class indices ``(B,)``.

    Returns:
        float32 ``(B, h, w)``, 0 and above.
    """
    values = last.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        logits = task({"pooled": pool(values)}).gather(1, target[:, None]).sum()
        (gradient,) = torch.autograd.grad(logits, values)
    return F.relu((gradient.mean(dim=(2, 3), keepdim=True) * values).sum(dim=1)).detach()


def _batch_size(values: int) -> int:
    """Inputs at once: a quarter of the memory that is free, 512 at most."""
    free = usable_memory().free
    return max(1, min(512, free // 4 // (_BYTES_A_VALUE * values)))
