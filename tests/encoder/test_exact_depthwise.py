from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import EncoderTail
from lazarus_pl.encoder.exact_depthwise import exact_depthwise


def test_only_depthwise_convolutions_leave_autocast() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 6, 1))
    exact_depthwise(module)
    types: list[torch.dtype] = []
    for part in module:
        part.register_forward_hook(lambda m, given, out: types.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        module(torch.randn(1, 4, 8, 8))
    assert types == [torch.float32, torch.bfloat16]


def test_the_gradient_is_that_of_float32() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(4, 4, 3, groups=4)
    maps = torch.randn(2, 4, 8, 8)
    expected = torch.autograd.grad(module(maps).square().mean(), module.weight)[0]
    exact_depthwise(module)
    with torch.autocast("cpu", torch.bfloat16):
        loss = module(maps).square().mean()
    assert torch.equal(torch.autograd.grad(loss, module.weight)[0], expected)


def test_a_copy_computes_with_its_own_weights() -> None:
    module = nn.Conv2d(4, 4, 3, groups=4)
    exact_depthwise(module)
    maps = torch.randn(1, 4, 8, 8)
    other = copy.deepcopy(module)
    before = module(maps)
    nn.init.zeros_(other.weight)
    assert torch.equal(module(maps), before)
    assert torch.equal(other(maps), other.bias.view(1, 4, 1, 1).expand_as(before))
    assert list(other.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("mixed", [False, True])
def test_the_tail_has_them(mixed: bool) -> None:
    tail = EncoderTail(Encoder.from_spec(EncoderSpec(weights="random")))
    depthwise = [part for name, part in tail.named_modules() if name.endswith("conv_dw")]
    assert len(depthwise) == 5
    types: list[torch.dtype] = []
    for part in depthwise:
        part.register_forward_hook(lambda m, given, out: types.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        tail(torch.randn(1, 4, 4, 112))
    assert types == 5 * [torch.float32]
