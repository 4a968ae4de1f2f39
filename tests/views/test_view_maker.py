from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from lazarus_pl.data.decode import PhotoError
from lazarus_pl.errors import LazarusError
from lazarus_pl.views.view_maker import ViewMaker
from lazarus_pl.views.view_policy import ViewPolicy
from tests.leaf.scenes import frame_filling_leaf, leaf_scene
from tests.views.policies import as_png, policy

FLIPS = "- RandomHorizontalFlip\n- RandomVerticalFlip\n- RandomRotation: {degrees: 90}\n"
MANY = """
- RandomResizedCrop
- RandomPerspective: {p: 1}
- RandomAffine: {degrees: 5, translate: [0.1, 0.1], scale: [0.9, 1.1], shear: 5}
- RandomChoice: {transforms: [[ColorJitter: {hue: 0.2}, RandomGrayscale], RandomEqualize]}
- RandomOrder: {transforms: [RandomPhotometricDistort, RandomSolarize: {threshold: 99}]}
- TrivialAugmentWide
- RandAugment
- AugMix
- AutoAugment: {policy: svhn}
- ElasticTransform: {alpha: 9.0}
- GaussianNoise
- RandomErasing: {p: 1, inplace: true}
- RandomZoomOut
- RandomChannelPermutation
- RandomCrop: {size: 40, pad_if_needed: true}
- JPEG: {quality: [20, 90]}
"""


@pytest.fixture(scope="module")
def photos() -> list[tuple[bytes, str]]:
    return [as_png(leaf_scene(shape=(90, 120), seed=seed)[0]) for seed in range(6)]


def maker(folder: Path, text: str, seed: int = 0, size: int = 64) -> ViewMaker:
    return ViewMaker(policy(folder, text), seed, size)


@pytest.mark.parametrize("text", [FLIPS, MANY, "- BackgroundSwap: {p: 1}\n" + FLIPS])
def test_threads_and_order_do_not_matter(
    text: str, photos: list[tuple[bytes, str]], tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    made = maker(tmp_path, text)
    alone = [made.views(*photo, range(1, 4)) for photo in photos]
    wanted = [(photo, number) for number in (3, 1, 2) for photo in reversed(photos)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda item: made.views(*item[0], [item[1]])[0], wanted))
    for (photo, number), view in zip(wanted, together, strict=True):
        assert np.array_equal(view, alone[photos.index(photo)][number - 1])
        assert view.shape == (64, 64, 3)
        assert view.dtype == np.uint8
    assert torch.equal(torch.get_rng_state(), before)


def test_another_process_makes_the_same(photos: list[tuple[bytes, str]], tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(photos[0][0])
    code = """
import hashlib, sys
from pathlib import Path
from lazarus_pl.views.view_maker import ViewMaker
from lazarus_pl.views.view_policy import ViewPolicy
path = Path(sys.argv[1])
made = ViewMaker(ViewPolicy.find("field"), 3, 64, donors=[path])
views = made.views(path.read_bytes(), sys.argv[2], [2, 5, 6, 7])
print(hashlib.sha256(b"".join(view.tobytes() for view in views)).hexdigest())
"""
    command = [sys.executable, "-c", code, str(path), photos[0][1]]
    there = subprocess.check_output(command, text=True).strip()
    made = ViewMaker(ViewPolicy.find("field"), 3, 64, donors=[path])
    here = b"".join(view.tobytes() for view in made.views(*photos[0], [2, 5, 6, 7]))
    assert hashlib.sha256(here).hexdigest() == there


def test_photo_number_policy_and_seed_each_matter(
    photos: list[tuple[bytes, str]], tmp_path: Path
) -> None:
    text = "- ColorJitter: {brightness: 0.5}\n"
    made = maker(tmp_path, text)
    first, second = made.views(*photos[0], [1, 2])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, maker(tmp_path, text, seed=1).views(*photos[0], [1])[0])
    changed = maker(tmp_path, text + "- RandomInvert: {p: 0}\n")
    assert not np.array_equal(first, changed.views(*photos[0], [1])[0])
    data, _ = photos[0]
    assert not np.array_equal(first, made.views(data, "another photo", [1])[0])


def test_chains_take_turns(photos: list[tuple[bytes, str]], tmp_path: Path) -> None:
    made = maker(tmp_path, "views: [[RandomInvert: {p: 1}], [RandomHorizontalFlip: {p: 0}]]")
    views = made.views(*photos[0], [1, 2, 3, 4])
    assert np.array_equal(views[0], views[2])
    assert np.array_equal(views[1], views[3])
    assert abs(int(views[0].mean()) + int(views[1].mean()) - 255) <= 2


def test_large_photos_are_reduced_first_and_shapes_kept(tmp_path: Path) -> None:
    photo = as_png(leaf_scene(shape=(300, 600))[0])
    seen: list[torch.Size] = []
    made = maker(tmp_path, FLIPS)
    made._chains = [lambda pixels: seen.append(pixels.shape) or pixels]  # type: ignore[list-item]
    made.views(*photo, [1])
    assert seen == [torch.Size((3, 96, 192))]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- ToDtype: {dtype: float32}", "does not take|gives"),
        ("- Grayscale", "gives torch.uint8 .* instead of RGB"),
        ("- RandomCrop: {size: 900}", "fails on a photo of 85x64 pixels"),
        ("- FiveCrop: {size: 9}", "gives .* instead of RGB"),
    ],
)
def test_what_gives_no_photo_is_found_before_the_first_one(
    text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(LazarusError, match=said):
        maker(tmp_path, text)


def test_draws_that_cannot_be_repeated_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    from torchvision.transforms import v2

    class Unrepeatable(v2.Transform):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels if random.random() < 0.5 else 255 - pixels

    monkeypatch.setattr(v2, "Unrepeatable", Unrepeatable, raising=False)
    with pytest.raises(LazarusError, match="cannot be repeated"):
        maker(tmp_path, "- Unrepeatable")


def test_unreadable_photos_are_told_as_ever(tmp_path: Path) -> None:
    with pytest.raises(PhotoError):
        maker(tmp_path, FLIPS).views(b"no photo", "0", [1])


def test_a_swap_keeps_the_leaf_and_changes_what_is_around_it(tmp_path: Path) -> None:
    pixels, leaf = leaf_scene()
    made = maker(tmp_path, "- BackgroundSwap: {p: 1}\n", size=256)
    for view in made.views(*as_png(pixels), range(1, 5)):
        changed = np.abs(view.astype(int) - pixels).max(axis=-1)
        inside = leaf & (np.roll(leaf, 6, 0) & np.roll(leaf, -6, 0) & np.roll(leaf, 6, 1))
        assert np.median(changed[inside]) == 0
        assert np.median(changed[~leaf]) > 4


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_without_a_sure_outline_nothing_is_swapped(p: float, tmp_path: Path) -> None:
    made = maker(tmp_path, f"- BackgroundSwap: {{p: {p}}}\n", size=256)
    filled = frame_filling_leaf()
    pixels = leaf_scene()[0] if p == 0 else filled
    assert np.array_equal(made.views(*as_png(pixels), [1])[0], pixels)


def test_half_of_the_views_are_swapped(tmp_path: Path) -> None:
    pixels, _ = leaf_scene(shape=(64, 64))
    made = maker(tmp_path, "- BackgroundSwap: {p: 0.5, sources: {grass: 1, paper: 2}}\n")
    same = [np.array_equal(view, pixels) for view in made.views(*as_png(pixels), range(1, 61))]
    assert 18 <= sum(same) <= 42


def test_shipped_policies_make_views(photos: list[tuple[bytes, str]], tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent / "configs" / "views"
    donor = tmp_path / "donor.png"
    donor.write_bytes(photos[1][0])
    for path in sorted(root.glob("*.yaml")):
        made = ViewMaker(ViewPolicy.read(path), 0, 64, donors=[donor])
        views = made.views(*photos[0], range(1, 9))
        assert len({view.tobytes() for view in views}) == 8
