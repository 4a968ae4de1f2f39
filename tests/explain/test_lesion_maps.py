"""Colours and the leaf's outline beside what the head says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lazarus_pl.explain.explain_photos import explain_photos
from lazarus_pl.explain.lost_green import lost_green
from lazarus_pl.explain.on_leaf import on_leaf
from lazarus_pl.explain.photo_maps import PhotoMaps
from lazarus_pl.leaf.find_leaf import find_leaf
from lazarus_pl.tasks.patch_task import PatchTask

GREEN, BROWN, GREY = (60, 140, 50), (120, 80, 40), (150, 150, 155)


def _photo(spots: bool = True) -> npt.NDArray[np.uint8]:
    pixels = np.full((128, 128, 3), GREY, dtype=np.uint8)
    pixels[16:112, 32:96] = GREEN
    if spots:
        pixels[32:48, 64:80] = BROWN
    return pixels


def test_the_brown_patch_of_a_green_photo_lost_most() -> None:
    pixels = np.full((1, 128, 128, 3), GREEN, dtype=np.uint8)
    pixels[0, 32:48, 64:80] = BROWN
    lost = lost_green(torch.from_numpy(pixels), (8, 8))
    assert divmod(int(lost.argmax()), 8) == (2, 4)
    assert lost.mean().item() == pytest.approx(0, abs=1e-5)
    assert lost.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_an_even_photo_has_lost_nothing() -> None:
    even = torch.full((1, 64, 64, 3), 90, dtype=torch.uint8)
    assert not lost_green(even, (4, 4)).any()


def test_severity_is_the_share_of_the_leaf_that_is_marked() -> None:
    lesions = np.full((128, 128), -1, dtype=np.float32)
    lesions[16:64, 32:96] = 1
    found = on_leaf(lesions, _photo(spots=False))
    assert found.severity == pytest.approx(0.5, abs=0.03)
    assert found.outside == 0


def test_what_is_marked_beside_the_leaf_is_told_from_what_is_marked_on_it() -> None:
    beside = np.full((128, 128), -1, dtype=np.float32)
    beside[:, 98:101] = 3
    found = on_leaf(beside, _photo(spots=False))
    assert found.severity == 0
    assert found.outside > 0.95
    assert "off the leaf" in _maps(outside=found.outside).weak
    assert not _maps(outside=0.1).weak


def test_what_is_cut_off_the_map_is_no_reason_to_distrust_it() -> None:
    """Background has no green: most of the evidence may lie there, and nobody is shown it."""
    lesions = np.full((128, 128), -1, dtype=np.float32)
    lesions[:, 112:] = 3
    lesions[40:48, 64:72] = 1
    found = on_leaf(lesions, _photo(spots=False))
    assert found.outside == 0
    assert found.severity == pytest.approx(64 / (96 * 64), abs=1e-3)


def test_a_lesion_that_the_outline_cuts_off_is_no_reason_to_distrust_its_map() -> None:
    pixels = _photo(spots=False)
    # as grey as the ground, at the leaf's edge
    pixels[48:72, 32:44] = GREY
    lesions = np.full((128, 128), -1, dtype=np.float32)
    lesions[52:68, 35:41] = 3
    assert not find_leaf(pixels).mask[60, 36]
    assert on_leaf(lesions, pixels).outside == 0


def test_a_map_of_nothing_has_a_reason() -> None:
    assert _maps(outside=0.0, marked=-1.0).weak == "no patch speaks for the class"


def test_areas_under_the_curves_are_no_reason() -> None:
    assert not _maps(outside=0.0, deletion=0.9, insertion=0.1).weak


def test_where_no_leaf_stands_off_all_of_the_photo_counts() -> None:
    lesions = np.full((64, 64), -1, dtype=np.float32)
    lesions[:16] = 1
    found = on_leaf(lesions, np.full((64, 64, 3), GREEN, dtype=np.uint8))
    assert found.severity == pytest.approx(0.25)
    assert found.cover.min() == 1


def test_colours_sharpen_a_disease_and_leave_health_alone() -> None:
    torch.manual_seed(0)
    task = PatchTask(
        "patches",
        {"hidden": 8},
        class_names=["healthy", "rust"],
        feature_shapes={"grid16": [8, 8, 6]},
    ).eval()
    features = {"grid16": torch.randn(1, 8, 8, 6)}
    pixels = _photo()[None]
    for target, changes in ((0, False), (1, True)):
        plain = explain_photos(task, features, target, ())[0]
        coloured = explain_photos(task, features, target, (), pixels=pixels)[0]
        change = coloured.evidence - plain.evidence
        assert bool(np.abs(change).max() > 1e-3) == changes
        assert coloured.lesions is not None
        assert coloured.lesions.shape == (128, 128)
        if changes:
            assert change[2, 4] > change[6, 3]
            assert not coloured.sound
        else:
            assert coloured.severity == 0
            # the background speaks for health as well: red there would be taken for a lesion
            assert coloured.sound
            assert coloured.evidence.max() > 0 >= coloured.shown.max()
            assert coloured.weak != "no patch speaks for the class"


def _maps(outside: float, marked: float = 1.0, **areas: float) -> PhotoMaps:
    ones = np.ones((2, 2), dtype=np.float32)
    chance = np.array([0.9, 0.1], dtype=np.float32)
    return PhotoMaps(ones, ones, marked * ones, ones, ones, chance, 0, outside=outside, **areas)
