"""Pointwise convolutions as products of matrices."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


def pointwise_products(module: nn.Module) -> None:
    """Has a module's 1x1 convolutions multiply matrices where they are trained on a CPU.

    The values are the same but for rounding. Beside another program that takes a core, threads of a
    convolution's backward pass in bfloat16 spend most of their time in waiting for each other,
    those of a product do not: a training step takes half of the time, and on an idle
    machine no more. ``benchmarks/busy_step.py`` measures it.
    """
    for part in module.modules():
        if type(part) is nn.Conv2d and _is_pointwise(part):
            # not a class of its own: timm has several, and names of weights stay as they are
            vars(part)["forward"] = functools.partial(_multiply, part)


def _is_pointwise(part: nn.Conv2d) -> bool:
    plain = part.kernel_size == part.stride == (1, 1) and part.padding == (0, 0)
    return plain and part.groups == 1


def _multiply(part: nn.Conv2d, maps: Tensor) -> Tensor:
    # a graph that is exported keeps its convolutions
    if maps.device.type != "cpu" or not torch.is_grad_enabled():
        return nn.Conv2d.forward(part, maps)
    last = linear(maps.permute(0, 2, 3, 1), part.weight.flatten(1), part.bias)
    return last.permute(0, 3, 1, 2)
