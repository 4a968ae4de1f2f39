"""A loss whose gradients are found before its backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

Gradients = list[Tensor | None]


def with_known_gradients(
    loss: Tensor, parameters: Sequence[nn.Parameter], scale: Tensor | None = None
) -> Tensor:
    """Finds the gradients of a loss now and lets go of what its forward pass kept.

    Args:
        loss: A scalar.
        parameters: What gets gradients, when the backward pass of what is returned runs.
        scale: Of a loss scaler: small gradients of float16 do not vanish on their way.

    Returns:
        The same loss.
    """
    return attach_gradients(
        loss.detach(), find_gradients(loss, parameters, scale), parameters, scale
    )


def find_gradients(
    loss: Tensor, parameters: Sequence[nn.Parameter], scale: Tensor | None = None
) -> Gradients:
    """Gradients of a loss, times the scale; None where a parameter takes no part."""
    # a backward pass takes the types of its forward pass, not those of autocast
    with torch.autocast(loss.device.type, enabled=False):
        scaled = loss if scale is None else loss * scale
        return list(torch.autograd.grad(scaled, parameters, allow_unused=True))


def attach_gradients(
    loss: Tensor,
    gradients: Gradients,
    parameters: Sequence[nn.Parameter],
    scale: Tensor | None = None,
) -> Tensor:
    """The loss, with a backward pass that hands out gradients that were found with the scale."""
    known: Tensor = _KnownGradients.apply(loss, gradients, scale, *parameters)
    return known


class _KnownGradients(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch's signature
        loss: Tensor,
        gradients: Gradients,
        scale: Tensor | None,
        *parameters: nn.Parameter,
    ) -> Tensor:
        ctx.gradients, ctx.scale = gradients, scale
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        gradients, ctx.gradients = ctx.gradients, None
        factor = given[0] if ctx.scale is None else given[0] / ctx.scale
        return (None, None, None, *(None if one is None else one * factor for one in gradients))
