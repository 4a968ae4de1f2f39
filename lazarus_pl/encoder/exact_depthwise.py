"""Depthwise convolutions that leave autocast aside."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn


def exact_depthwise(module: nn.Module) -> None:
    """Has a module's depthwise convolutions read float32 on a CPU, whatever autocast says.

    The gradient of their weights takes four to eight times as long in bfloat16, more than all the
    rest of a training step; ``benchmarks/depthwise.py`` measures it.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.groups == part.in_channels > 1:
            # not a class of its own: timm has several, and names of weights stay as they are
            vars(part)["forward"] = functools.partial(_in_float32, part.forward)


def _in_float32(forward: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    if maps.device.type != "cpu":
        return forward(maps)
    with torch.autocast("cpu", enabled=False):
        return forward(maps.float())
