"""Weights in bfloat16 whose rounding moves no mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Layer = nn.Conv2d | nn.Linear
_Hook = Callable[[Any, Any, Tensor], Tensor | None]


@torch.no_grad()
def round_to_bfloat16(model: nn.Module, inputs: Tensor) -> None:
    """Rounds the weights of convolutions and linear layers, and has their biases make up for it.

    In bfloat16 a weight keeps 8 bits. What a layer reads is seldom zero in the mean (after a ReLU,
    never), so that the errors of a channel's weights add up to much the same error in every photo:
    it is measured, layer after layer, and taken off the bias, see Nagel et al. 2019, "Data-Free
    Quantization Through Weight Equalization and Bias Correction", https://arxiv.org/abs/1906.04721

    Args:
        model: In evaluation mode and float32; both stay, weights and biases change. A layer that is
            called several times keeps its bias.
        inputs: What the model takes, to measure on. Of other kinds of inputs the means would be
            others, and might be moved the wrong way.
    """
    layers = [part for part in model.modules() if isinstance(part, Layer)]
    means: dict[Layer, list[Tensor]] = defaultdict(list)

    def measure(layer: Layer, _: object, output: Tensor) -> None:
        means[layer].append(_mean(layer, output))

    def correct(layer: Layer, _: object, output: Tensor) -> Tensor | None:
        if len(means[layer]) > 1:
            return None
        error = _mean(layer, output) - means[layer][0]
        bias = -error if layer.bias is None else layer.bias - error
        layer.bias = nn.Parameter(bias, requires_grad=False)
        return output - (error.view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else error)

    _call(model, inputs, layers, measure)
    for layer in layers:
        layer.weight.copy_(layer.weight.bfloat16())
    # what a layer reads then is as the corrected ones before it give it
    _call(model, inputs, layers, correct)


def _mean(layer: Layer, output: Tensor) -> Tensor:
    """Of each channel: ``(C,)``."""
    channels = 1 if isinstance(layer, nn.Conv2d) else -1
    return output.transpose(channels, -1).flatten(0, -2).mean(dim=0)


def _call(model: nn.Module, inputs: Tensor, layers: list[Layer], hook: _Hook) -> None:
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
