from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lazarus_pl.encoder.agreement import Agreement
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.folded_encoder import folded_encoder
from lazarus_pl.encoder.leaf_images import leaf_images
from lazarus_pl.encoder.round_to_bfloat16 import round_to_bfloat16
from tests.leaf.scenes import leaf_scene


class Twice(nn.Module):
    """Calls one layer two times, another one once, and a third one never."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.once, self.never = (nn.Linear(6, 6) for _ in range(3))

    def forward(self, values: Tensor) -> Tensor:
        return self.once(self.twice(self.twice(values).relu()).relu())


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    grouped = nn.Conv2d(8, 8, 3, groups=8, bias=False)
    parts = (nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), grouped, nn.ReLU(), nn.Flatten(2))
    return nn.Sequential(*parts, nn.Linear(36, 5)).eval()


def is_rounded(weight: Tensor) -> bool:
    return torch.equal(weight, weight.bfloat16().float())


def plainly_rounded(model: nn.Module) -> nn.Module:
    rounded = copy.deepcopy(model)
    for part in rounded.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.weight.data = part.weight.data.bfloat16().float()
    return rounded


@torch.no_grad()
def agreement(exact: nn.Module, other: nn.Module, images: Tensor) -> Agreement:
    wanted, given = (
        {layer: values.numpy() for layer, values in one(images).items()} for one in (exact, other)
    )
    return Agreement.of(wanted, given)


def test_means_stay_and_weights_are_of_bfloat16(model: nn.Module) -> None:
    images = torch.rand(16, 3, 10, 10)
    exact = model(images)
    plain = plainly_rounded(model)
    round_to_bfloat16(model, images)
    layers = [part for part in model.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert all(is_rounded(layer.weight) for layer in layers)
    assert not any(layer._forward_hooks for layer in layers)
    error, before = ((one(images) - exact).mean(dim=(0, 1)).abs().max() for one in (model, plain))
    assert error < 0.05 * before


def test_rounding_twice_is_rounding_once(model: nn.Module) -> None:
    images = torch.rand(4, 3, 10, 10)
    round_to_bfloat16(model, images)
    again = copy.deepcopy(model)
    round_to_bfloat16(again, images)
    torch.testing.assert_close(again(images), model(images))


def test_a_layer_that_is_called_twice_keeps_its_bias() -> None:
    torch.manual_seed(0)
    model = Twice().eval()
    before = copy.deepcopy(model)
    round_to_bfloat16(model, torch.rand(4, 6))
    assert all(is_rounded(part.weight) for part in model.children())  # type: ignore[arg-type]
    assert torch.equal(model.twice.bias, before.twice.bias)
    assert torch.equal(model.never.bias, before.never.bias)
    assert not torch.equal(model.once.bias, before.once.bias)


def test_images_of_leaves_are_always_the_same() -> None:
    encoder = Encoder.from_spec(EncoderSpec("test_resnet", "random", 64))
    images = leaf_images(encoder)
    assert images.shape == (7, 3, 64, 64)
    assert torch.equal(images, leaf_images(encoder))
    assert len(torch.unique(images.flatten(1), dim=0)) == 7


def test_features_of_real_weights_come_nearer_to_those_of_float32() -> None:
    exact = folded_encoder(Encoder.from_spec(EncoderSpec(image_size=128)))
    photos = [leaf_scene(shape=(128, 128), seed=seed)[0] for seed in range(8)]
    images = exact.normalise(torch.from_numpy(np.stack(photos)))
    rounded = copy.deepcopy(exact)
    round_to_bfloat16(rounded, leaf_images(rounded))
    before, after = (agreement(exact, one, images) for one in (plainly_rounded(exact), rounded))
    # 0.99993 for 0.9991
    assert 1 - after.worst < 0.2 * (1 - before.worst)


@pytest.mark.parametrize(
    ("name", "size"), [("test_resnet", 64), ("mobilenetv3_small_050", 96), ("test_vit", 160)]
)
def test_other_backbones_keep_their_features(name: str, size: int) -> None:
    layers = ("pooled",) if name == "test_vit" else ("pooled", "grid16")
    exact = folded_encoder(Encoder.from_spec(EncoderSpec(name, "random", size, layers)))
    photos = [leaf_scene(shape=(size, size), seed=seed)[0] for seed in range(8)]
    rounded = copy.deepcopy(exact)
    round_to_bfloat16(rounded, leaf_images(rounded))
    images = exact.normalise(torch.from_numpy(np.stack(photos)))
    assert agreement(exact, rounded, images).worst > 0.999
