"""A convolution of one pixel is a product of matrices."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import timm
import torch
from timm.layers import StdConv2d
from torch import Tensor, nn

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import EncoderTail
from lazarus_pl.encoder.pointwise_products import pointwise_products


def gradients(module: nn.Module, maps: Tensor) -> list[Tensor]:
    module.zero_grad()
    maps = maps.clone().requires_grad_()
    values = module(maps)
    (values.float().square().sum()).backward()
    return [values, *(each.grad for each in (maps, *module.parameters()) if each.grad is not None)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_are_the_same(bias: bool, memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    theirs = nn.Conv2d(6, 10, 1, bias=bias).double()
    ours = copy.deepcopy(theirs)
    pointwise_products(ours)
    maps = torch.randn(3, 6, 5, 4, dtype=torch.float64).to(memory_format=memory)
    for mine, other in zip(gradients(ours, maps), gradients(theirs, maps), strict=True):
        torch.testing.assert_close(mine, other)
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_autocast_multiplies_in_bfloat16() -> None:
    ours = nn.Conv2d(6, 10, 1)
    pointwise_products(ours)
    with torch.autocast("cpu", torch.bfloat16):
        values = ours(torch.randn(2, 6, 4, 4))
    assert values.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(6, 6, 3, padding=1),
        nn.Conv2d(6, 6, 1, stride=2),
        nn.Conv2d(6, 6, 1, groups=6),
        nn.Conv2d(6, 6, 1, padding=1),
        StdConv2d(6, 6, 1),
    ],
    ids=["3x3", "stride", "groups", "padding", "standardised"],
)
def test_other_convolutions_stay(other: nn.Conv2d) -> None:
    pointwise_products(other)
    assert "forward" not in vars(other)


def test_a_whole_network_and_its_copy_say_the_same() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("test_efficientnet", pretrained=False).eval()
    ours = copy.deepcopy(theirs)
    pointwise_products(ours)
    # of the weights of the copy, not of those that it was copied from
    twin = copy.deepcopy(ours)
    for part in ours.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.weight)
    maps = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(twin(maps), theirs(maps))


def test_the_tail_multiplies_where_it_is_trained_and_is_convolutions_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lazarus_pl.encoder import pointwise_products as module

    tail = EncoderTail(Encoder.from_spec(EncoderSpec(weights="random")))
    linear = mock.Mock(side_effect=nn.functional.linear)
    monkeypatch.setattr(module, "linear", linear)
    grid = torch.randn(1, 4, 4, 112)
    trained = tail(grid)
    assert linear.call_count == 11
    with torch.no_grad():
        seen = tail(grid)
    assert linear.call_count == 11
    assert trained.keys() == seen.keys()
