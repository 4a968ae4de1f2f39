from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from lazarus_pl.views.layout import as_photo, as_tensor
from lazarus_pl.views.local_generator import LocalGenerator
from lazarus_pl.views.quick_transform import KERNELS, QuickTransform
from tests.leaf.scenes import leaf_scene

BILINEAR = v2.InterpolationMode.BILINEAR


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    pixels = leaf_scene(shape=(120, 150))[0].astype(int)
    noise = np.random.default_rng(0).integers(-20, 21, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def both(transform: nn.Module, photo: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What torchvision makes of a photo and what we make of it, from the same draws."""
    made = []
    for each in (transform, QuickTransform(transform)):
        with LocalGenerator(seed):
            made.append(as_photo(each(as_tensor(photo.copy()))).astype(int))
    return made[0], made[1]


@pytest.mark.parametrize(
    ("transform", "most"),
    [
        (v2.RandomResizedCrop((140, 152), scale=(0.2, 0.9)), 1),
        (v2.ColorJitter(brightness=0.5), 0),
        (v2.ColorJitter(contrast=0.5), 1),
        (v2.ColorJitter(saturation=0.5), 1),
        (v2.ColorJitter(hue=0.1), 4),
        (v2.GaussianBlur(5, (0.3, 2.0)), 1),
        (v2.GaussianBlur((3, 7), (0.5, 1.0)), 1),
    ],
    ids=str,
)
def test_levels_are_those_of_torchvision(
    transform: nn.Module, most: int, photo: np.ndarray
) -> None:
    changed = 0
    for seed in range(8):
        theirs, ours = both(transform, photo, seed)
        differs = np.abs(ours - theirs)
        assert differs.max() <= most
        assert differs.mean() < 0.3
        changed += theirs.shape != photo.shape or np.abs(theirs - photo).mean() > 2
    assert changed >= 6


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_turned_photos_are_those_of_torchvision_but_for_their_edge(
    interpolation: str, photo: np.ndarray
) -> None:
    transform = v2.RandomRotation(40, interpolation=v2.InterpolationMode(interpolation))
    changed = 0
    for seed in range(8):
        theirs, ours = both(transform, photo, seed)
        assert (np.abs(ours - theirs) > 1).mean() < 0.02
        changed += np.abs(theirs - photo).mean() > 2
    assert changed >= 6


def test_all_colours_at_once_stay_close(photo: np.ndarray) -> None:
    for seed in range(20):
        theirs, ours = both(v2.ColorJitter(0.4, 0.4, 0.4, 0.04), photo, seed)
        assert np.abs(ours - theirs).mean() < 1


@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomResizedCrop((40, 40), scale=(0.5, 1.0)),
        v2.RandomResizedCrop((200, 200), interpolation=v2.InterpolationMode.BICUBIC),
        v2.RandomRotation(40, interpolation=BILINEAR, expand=True),
        v2.RandomRotation(40, interpolation=BILINEAR, fill=255),
        v2.RandomRotation(40, interpolation=BILINEAR, center=[0, 0]),
    ],
    ids=str,
)
def test_what_opencv_does_otherwise_is_left_to_torchvision(
    transform: nn.Module, photo: np.ndarray
) -> None:
    for seed in range(4):
        theirs, ours = both(transform, photo, seed)
        assert np.array_equal(ours, theirs)


def test_a_kernel_leaves_its_input_as_it_was(photo: np.ndarray) -> None:
    before = photo.copy()
    for kind in KERNELS:
        arguments = {v2.RandomResizedCrop: (140,), v2.RandomRotation: (9,), v2.GaussianBlur: (3,)}
        QuickTransform(kind(*arguments.get(kind, (0.5, 0.5, 0.5, 0.1))))(as_tensor(photo))
        assert np.array_equal(photo, before)


def test_layouts_share_their_memory(photo: np.ndarray) -> None:
    tensor = as_tensor(photo)
    assert tensor.shape == (3, 120, 150)
    assert np.shares_memory(as_photo(tensor), photo)
    turned = as_photo(torch.flip(tensor, [-1]))
    assert np.array_equal(turned, photo[:, ::-1])
