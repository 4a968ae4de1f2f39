"""Depthwise convolutions whose wide kernels learn quickly on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import grad
from torch.nn.functional import conv2d, pad

_COLUMNS = 3
# torch gives them no types
_gradient_of_maps: Callable[..., Tensor] = grad.conv2d_input
_gradient_of_weight: Callable[..., Tensor] = grad.conv2d_weight

_Pair = tuple[int, int]


def wide_depthwise(module: nn.Module) -> None:
    """Has a module's depthwise convolutions find the gradients of wide kernels in parts on a CPU.

    oneDNN's own kernel for the gradient of depthwise weights takes up to three columns. A kernel of
    five goes to the one for dense convolutions, which takes two to three times as long as the
    columns do three and two at a time; with a stride, those that see the same columns of the maps
    go together. The values are the same but for rounding; there is no second derivative.
    ``benchmarks/depthwise.py`` measures it.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and _is_wide(part):
            # not a class of its own: timm has several, and names of weights stay as they are
            vars(part)["forward"] = functools.partial(_convolve, part)


def _is_wide(part: nn.Conv2d) -> bool:
    is_plain = part.dilation == (1, 1) and part.padding_mode == "zeros" and part.bias is None
    is_depthwise = part.groups == part.in_channels == part.out_channels > 1
    is_known = type(part) in (nn.Conv2d, Conv2dSame) and not isinstance(part.padding, str)
    return is_plain and is_depthwise and is_known and part.kernel_size[1] > _COLUMNS


def _convolve(part: nn.Conv2d, maps: Tensor) -> Tensor:
    # a graph that is exported keeps its convolutions
    if maps.device.type != "cpu" or not torch.is_grad_enabled():
        return type(part).forward(part, maps)
    if type(part) is Conv2dSame:
        maps = pad_same(maps, part.kernel_size, part.stride)
    convolved: Tensor = _Depthwise.apply(maps, part.weight, part.stride, part.padding)
    return convolved


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch's signature
        maps: Tensor,
        weight: Tensor,
        stride: _Pair,
        padding: _Pair,
    ) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.stride, ctx.padding = stride, padding
        return conv2d(maps, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # noqa: ANN401
        (maps, weight), (stride, padding) = ctx.saved_tensors, (ctx.stride, ctx.padding)
        of_maps = of_weight = None
        if ctx.needs_input_grad[0]:
            of_maps = _gradient_of_maps(
                maps.shape, weight, given, stride, padding, groups=len(weight)
            )
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(given, maps, weight, stride, padding)
        return of_maps, of_weight, None, None


def _of_weight(
    given: Tensor, maps: Tensor, weight: Tensor, stride: _Pair, padding: _Pair
) -> Tensor:
    if stride != (1, 1) and any(padding):
        maps, padding = pad(maps, (padding[1], padding[1], padding[0], padding[0])), (0, 0)
    found = torch.empty_like(weight)
    phases = range(min(stride[0], weight.shape[2]))
    for phase, column in product(phases, _columns(weight.shape[3], stride[1])):
        rows = slice(phase, None, stride[0])
        part = found[:, :, rows, column]
        seen = given.shape[3] + part.shape[3] - 1
        under = _under(maps[:, :, rows], column.start - padding[1], seen, stride[1])
        # a row more than fits can be left over
        under = under[:, :, : given.shape[2] + part.shape[2] - 1]
        options = {"padding": (padding[0], 0), "groups": len(weight)}
        part.copy_(_gradient_of_weight(under, part.shape, given, **options))
    return found


def _columns(width: int, stride: int) -> Iterator[slice]:
    """A kernel's columns, as many at once as go quickly; all that see the same of the maps'."""
    step = _COLUMNS * stride
    for phase, start in product(range(stride), range(0, width, step)):
        if start + phase < width:
            yield slice(start + phase, start + step, stride)


def _under(maps: Tensor, start: int, count: int, stride: int) -> Tensor:
    """Columns of maps, with zeros where there are none: with a stride none are missing."""
    before = min(count, max(0, -start))
    kept = maps[..., max(0, start) : max(0, start + count * stride) : stride]
    after = count - before - kept.shape[3]
    if not before + after:
        return kept
    # written once, where padding writes zeros first; and in the order of channels last
    last = kept.permute(0, 2, 3, 1)
    zeros = [last.new_zeros(*last.shape[:2], more, last.shape[3]) for more in (before, after)]
    return torch.cat((zeros[0], last, zeros[1]), dim=2).permute(0, 3, 1, 2)
