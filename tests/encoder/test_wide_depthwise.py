"""Gradients of wide kernels in parts are those of torch."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

import pytest
import torch
from timm.layers import Conv2dSame, StdConv2d
from torch import Tensor, nn

from lazarus_pl.encoder import wide_depthwise as module_under_test
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import EncoderTail
from lazarus_pl.encoder.wide_depthwise import wide_depthwise


def depthwise(
    kind: type[nn.Conv2d] = nn.Conv2d,
    kernel: tuple[int, int] = (5, 5),
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (2, 2),
) -> nn.Conv2d:
    return kind(6, 6, kernel, stride, padding, groups=6, bias=False).double()


def gradients(module: nn.Module, maps: Tensor) -> list[Tensor | None]:
    module.zero_grad(set_to_none=True)
    maps = maps.clone().requires_grad_()
    values = module(maps)
    values.square().sum().backward()
    return [values, maps.grad, *(each.grad for each in module.parameters())]


@pytest.mark.parametrize("size", [(9, 8), (16, 16), (7, 5)])
@pytest.mark.parametrize("padding", [(2, 2), (1, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1), (4, 3)])
@pytest.mark.parametrize("kernel", [(5, 5), (7, 7), (3, 4)])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_values_and_gradients_are_the_same(
    kind: type[nn.Conv2d],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    size: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    theirs = depthwise(kind, kernel, stride, padding)
    ours = copy.deepcopy(theirs)
    wide_depthwise(ours)
    maps = torch.randn(3, 6, *size, dtype=torch.float64)
    for memory in (torch.contiguous_format, torch.channels_last):
        given = maps.to(memory_format=memory)
        for mine, other in zip(gradients(ours, given), gradients(theirs, given), strict=True):
            torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2, 9)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_columns_that_see_nothing_but_padding(
    stride: tuple[int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    theirs = depthwise(kernel=(9, 9), stride=stride, padding=(4, 4))
    ours = copy.deepcopy(theirs)
    wide_depthwise(ours)
    maps = torch.randn(2, 6, *size, dtype=torch.float64)
    for mine, other in zip(gradients(ours, maps), gradients(theirs, maps), strict=True):
        torch.testing.assert_close(mine, other)


def test_what_needs_no_gradient_costs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name in ("_gradient_of_maps", "_gradient_of_weight"):
        find = getattr(module_under_test, name)

        def noted(*given: object, _find: Any = find, _name: str = name, **named: object) -> Tensor:  # noqa: ANN401
            called.append(_name)
            found: Tensor = _find(*given, **named)
            return found

        monkeypatch.setattr(module_under_test, name, noted)
    ours = depthwise()
    wide_depthwise(ours)
    maps = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    ours(maps).sum().backward()
    assert set(called) == {"_gradient_of_weight"}
    called.clear()
    ours.weight.requires_grad_(False)
    ours(maps.requires_grad_()).sum().backward()
    assert called == ["_gradient_of_maps"]


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
        nn.Conv2d(6, 6, 5, padding=2, bias=False),
        nn.Conv2d(6, 12, 5, padding=2, groups=6, bias=False),
        nn.Conv2d(6, 6, 5, padding=2, groups=6),
        nn.Conv2d(6, 6, 5, padding=4, dilation=2, groups=6, bias=False),
        nn.Conv2d(6, 6, 5, padding="same", groups=6, bias=False),
        nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False, padding_mode="reflect"),
        nn.Conv2d(1, 1, 5, padding=2, bias=False),
        StdConv2d(6, 6, 5, padding=2, groups=6, bias=False),
    ],
    ids=[
        *("narrow", "dense", "twice", "bias", "dilated", "by name", "reflected", "one channel"),
        "standardised",
    ],
)
def test_other_convolutions_stay(other: nn.Conv2d) -> None:
    wide_depthwise(other)
    assert "forward" not in vars(other)


def test_a_copy_learns_with_its_own_weights() -> None:
    ours = depthwise()
    wide_depthwise(ours)
    twin, maps = copy.deepcopy(ours), torch.randn(1, 6, 8, 8, dtype=torch.float64)
    before = twin(maps)
    nn.init.zeros_(ours.weight)
    assert torch.equal(twin(maps), before)
    assert not ours(maps).any()
    assert list(twin.state_dict()) == ["weight"]


def test_the_tail_learns_in_parts_and_is_convolutions_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tail = EncoderTail(Encoder.from_spec(EncoderSpec(weights="random")))
    counted = mock.Mock(side_effect=module_under_test._gradient_of_weight)
    monkeypatch.setattr(module_under_test, "_gradient_of_weight", counted)
    grid = torch.randn(1, 16, 16, 112)
    with torch.autocast("cpu", torch.bfloat16):
        tail(grid)["pooled"].float().sum().backward()
    # two parts of three kernels, and the four of one with a stride
    assert counted.call_count == 3 * 2 + 4
    assert all(each.args[0].dtype == torch.float32 for each in counted.call_args_list)
    monkeypatch.setattr(module_under_test, "conv2d", mock.Mock(side_effect=AssertionError))
    with torch.no_grad():
        tail(grid)
