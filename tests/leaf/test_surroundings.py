from __future__ import annotations

import numpy as np
import pytest

from lazarus_pl.leaf.find_leaf import find_leaf
from lazarus_pl.leaf.leaf_mask import LeafMask
from lazarus_pl.leaf.surroundings import surroundings
from tests.leaf.scenes import GREEN, GREY, leaf_scene


@pytest.mark.parametrize("shape", [(256, 256), (200, 320), (64, 64)])
def test_no_leaf_is_left(shape: tuple[int, int]) -> None:
    pixels, truth = leaf_scene(GREY, shape, shadow=True)
    without = surroundings(pixels, LeafMask(truth, 1.0))
    assert without is not None
    assert without.shape == pixels.shape
    greenness = without[..., 1].astype(int) - without[..., 2]
    assert greenness.max() < 15
    assert np.abs(without[truth].mean(axis=0) - GREY).max() < 10
    assert find_leaf(without) is None


def test_a_second_leaf_goes_too() -> None:
    pixels, truth = leaf_scene(GREY)
    pixels[5:40, 5:40] = GREEN
    without = surroundings(pixels, LeafMask(truth, 1.0))
    assert without is not None
    assert (without[..., 1].astype(int) - without[..., 2]).max() < 15


def test_grain_is_continued() -> None:
    pixels, truth = leaf_scene(GREY)
    without = surroundings(pixels, LeafMask(truth, 1.0))
    assert without is not None
    middle, corner = without[100:150, 100:150, 1], without[:30, :30, 1]
    assert middle.std() == pytest.approx(corner.std(), rel=0.35)


def test_none_where_there_is_nothing_to_take() -> None:
    pixels, truth = leaf_scene()
    assert surroundings(pixels, LeafMask(truth, 0.3)) is None
    assert surroundings(pixels, LeafMask(np.ones_like(truth), 1.0)) is None


def test_sizes_must_fit() -> None:
    pixels, truth = leaf_scene()
    with pytest.raises(ValueError, match="does not fit"):
        surroundings(pixels[:50], LeafMask(truth, 1.0))
