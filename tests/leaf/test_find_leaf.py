from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.leaf.find_leaf import find_leaf
from lazarus_pl.leaf.leaf_mask import LeafMask
from tests.leaf.scenes import BLACK, GREY, frame_filling_leaf, iou, leaf_scene


def found(pixels: np.ndarray, at_least: float = 0.5) -> LeafMask:
    leaf = find_leaf(pixels, at_least)
    assert leaf is not None
    return leaf


@pytest.mark.parametrize("ground", [GREY, BLACK, (235, 235, 230), (70, 52, 40), (90, 110, 170)])
def test_a_leaf_with_lesions_is_found_whole_on_any_ground(ground: tuple[int, int, int]) -> None:
    pixels, truth = leaf_scene(ground)
    leaf = found(pixels)
    assert iou(leaf.mask, truth) > 0.97
    assert leaf.confidence > 0.9
    assert leaf.coverage == pytest.approx(truth.mean(), rel=0.03)


def test_lesions_of_the_grounds_own_colour_are_holes_that_are_filled() -> None:
    pixels, truth = leaf_scene(lesions=9)
    lesions = truth & (np.abs(pixels.astype(int) - GREY).sum(axis=2) < 60)
    assert lesions.sum() > 300
    assert found(pixels).mask[lesions].mean() > 0.99


def test_a_cast_shadow_is_no_leaf() -> None:
    pixels, truth = leaf_scene(shadow=True)
    assert iou(found(pixels).mask, truth) > 0.96


def test_the_largest_leaf_is_taken() -> None:
    pixels, truth = leaf_scene()
    pixels[4:20, 4:20] = (80, 125, 50)
    mask = found(pixels).mask
    assert not mask[4:20, 4:20].any()
    assert iou(mask, truth) > 0.97


def test_a_leaf_that_reaches_across_the_frame() -> None:
    pixels, _ = leaf_scene(lesions=0)
    strip = np.repeat(pixels[128:129], 256, axis=0)
    mask = found(strip).mask
    assert mask[:, 128].all()
    assert not mask[:, :20].any()


@pytest.mark.parametrize("shape", [(256, 256), (64, 64), (200, 320), (640, 480), (1024, 700)])
def test_any_size(shape: tuple[int, int]) -> None:
    pixels, truth = leaf_scene(shape=shape)
    mask = found(pixels).mask
    assert mask.shape == shape
    assert mask.dtype == np.bool_
    assert iou(mask, truth) > 0.95


def test_no_leaf_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    nothing = {
        "a leaf that fills the frame": frame_filling_leaf(),
        "noise": rng.integers(0, 256, (256, 256, 3), dtype=np.uint8),
        "grey": np.full((256, 256, 3), 128, dtype=np.uint8),
        "black": np.zeros((256, 256, 3), dtype=np.uint8),
        "white": np.full((256, 256, 3), 255, dtype=np.uint8),
        "grainy ground": leaf_scene()[0][:40, :40],
        "a sliver": leaf_scene()[0][:, 120:124],
        "one pixel": leaf_scene()[0][:1, :1],
        "nothing": np.zeros((0, 5, 3), dtype=np.uint8),
    }
    assert {name: find_leaf(pixels) for name, pixels in nothing.items()} == dict.fromkeys(nothing)


def test_the_best_guess_is_there_for_the_asking() -> None:
    guess = found(frame_filling_leaf(), at_least=0)
    assert guess.confidence < 0.5
    assert not guess.is_confident


def test_deterministic_and_the_photo_is_left_alone() -> None:
    pixels, _ = leaf_scene()
    before = pixels.copy()
    one, two = found(pixels), found(pixels)
    assert np.array_equal(one.mask, two.mask)
    assert one.confidence == two.confidence
    assert np.array_equal(pixels, before)


def test_mirrored_photo_mirrored_mask() -> None:
    pixels, _ = leaf_scene()
    assert iou(found(pixels[:, ::-1]).mask, found(pixels).mask[:, ::-1]) > 0.99


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_other_pixels_are_refused(dtype: type) -> None:
    with pytest.raises(ValueError, match="RGB uint8"):
        find_leaf(np.zeros((8, 8, 3), dtype=dtype))
    with pytest.raises(ValueError, match="RGB uint8"):
        find_leaf(np.zeros((8, 8), dtype=np.uint8))


def test_drawn_leaves_on_drawn_grounds() -> None:
    drawn = ProceduralLeaves({"healthy": 8, "bacterial_spot": 6, "rust": 6}, seed=11)
    scores, confident = [], 0
    for index in range(0, len(drawn), 2):
        photo = drawn.draw(index)
        leaf = find_leaf(photo.pixels)
        if leaf is not None:
            confident += 1
            scores.append(iou(leaf.mask, photo.leaf))
    assert confident >= 0.8 * len(range(0, len(drawn), 2))
    assert np.mean(scores) > 0.96


@pytest.mark.real_data
def test_masks_drawn_by_hand(real_data: Path) -> None:
    photos = {path.stem: path for path in real_data.glob("plantvillage-mini/Potato*/*")}
    masks = sorted(real_data.glob("lesions-potato-late-blight/leaf_masks/*.png"))
    assert masks
    scores = []
    for path in masks:
        pixels = np.asarray(Image.open(photos[path.stem]).convert("RGB"))
        truth = np.asarray(Image.open(path).convert("L")) > 127
        leaf = find_leaf(pixels)
        scores.append(0.0 if leaf is None else iou(leaf.mask, truth))
    assert np.mean(scores) >= 0.95
    assert np.percentile(scores, 10) >= 0.93


@pytest.mark.real_data
def test_frame_filling_corn_has_no_mask_and_blacked_out_corn_has(real_data: Path) -> None:
    def share(name: str) -> float:
        paths = sorted(real_data.glob(f"plantvillage-mini/{name}/*"))[::6]
        leaves = [find_leaf(np.asarray(Image.open(path).convert("RGB"))) for path in paths]
        return sum(leaf is not None for leaf in leaves) / len(leaves)

    assert share("Corn___healthy") < 0.1
    assert share("Corn___Common_rust") > 0.95
