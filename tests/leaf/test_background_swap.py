from __future__ import annotations

import cv2
import numpy as np
import pytest

from lazarus_pl.leaf.background_swap import swap_background
from lazarus_pl.leaf.backgrounds.procedural_backgrounds import KINDS, ProceduralBackgrounds
from lazarus_pl.leaf.find_leaf import find_leaf
from lazarus_pl.leaf.leaf_mask import LeafMask
from tests.leaf.scenes import BLACK, GREY, Bools, iou, leaf_scene


def deep(mask: Bools, by: int) -> Bools:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * by + 1,) * 2, dtype=np.uint8)) > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(256, 256), (120, 180)])
def test_the_leaf_stays_and_all_else_goes(kind: str, shape: tuple[int, int]) -> None:
    pixels, truth = leaf_scene(GREY, shape)
    rng = np.random.default_rng(5)
    background = ProceduralBackgrounds({kind: 1}).draw(rng, shape)
    swapped = swap_background(pixels, LeafMask(truth, 1.0), background, rng)
    assert swapped.dtype == np.uint8
    assert swapped.shape == pixels.shape
    inside, outside = deep(truth, 5), deep(~truth, 5)
    assert np.array_equal(swapped[inside], pixels[inside])
    assert np.abs(swapped[outside].astype(int) - pixels[outside]).mean() > 5


def test_no_rim_of_the_old_background_stays() -> None:
    pixels, truth = leaf_scene((230, 30, 230), lesions=0)
    leaf = find_leaf(pixels)
    assert leaf is not None
    green = np.full_like(pixels, (80, 125, 50))
    swapped = swap_background(pixels, leaf, green, np.random.default_rng(1)).astype(int)
    magenta = (swapped[..., 0] + swapped[..., 2]) / 2 - swapped[..., 1]
    assert (magenta > 10).mean() < 0.001
    assert iou(leaf.mask, truth) > 0.97


def test_determined_by_the_generator() -> None:
    pixels, truth = leaf_scene()
    leaf, background = LeafMask(truth, 1.0), np.full_like(pixels, 90)

    def swapped(seed: int) -> bytes:
        return swap_background(pixels, leaf, background, np.random.default_rng(seed)).tobytes()

    assert swapped(3) == swapped(3)
    assert len({swapped(seed) for seed in range(6)}) > 1


def test_never_behind_an_unsure_mask() -> None:
    pixels, truth = leaf_scene(BLACK)
    with pytest.raises(ValueError, match="confident masks only"):
        swap_background(pixels, LeafMask(truth, 0.49), pixels, np.random.default_rng(0))


def test_sizes_must_fit() -> None:
    pixels, truth = leaf_scene()
    with pytest.raises(ValueError, match="one size"):
        swap_background(pixels, LeafMask(truth, 1.0), pixels[:100], np.random.default_rng(0))


def test_a_leaf_that_covers_all_stays_as_it_is() -> None:
    pixels, truth = leaf_scene()
    everything = LeafMask(np.ones_like(truth), 1.0)
    swapped = swap_background(pixels, everything, 255 - pixels, np.random.default_rng(0))
    assert np.array_equal(swapped, pixels)
