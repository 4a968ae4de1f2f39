from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lazarus_pl.errors import LazarusError
from lazarus_pl.leaf.backgrounds.background_source import BackgroundSource
from lazarus_pl.leaf.backgrounds.folder_backgrounds import FolderBackgrounds
from lazarus_pl.leaf.backgrounds.framed import framed
from lazarus_pl.leaf.backgrounds.mixed_backgrounds import MixedBackgrounds
from lazarus_pl.leaf.backgrounds.procedural_backgrounds import KINDS, ProceduralBackgrounds
from lazarus_pl.leaf.backgrounds.surrounding_backgrounds import SurroundingBackgrounds
from tests.leaf.scenes import GREY, frame_filling_leaf, leaf_scene


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def save(folder: Path, name: str, pixels: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        grey = np.full((90, 120, 3), 60 * (number + 1), dtype=np.uint8)
        save(tmp_path / "grounds", f"{number}.png", grey)
    (tmp_path / "grounds" / "notes.txt").write_text("none", encoding="utf-8")
    return tmp_path / "grounds"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(256, 256), (64, 64), (100, 333), (37, 5)])
def test_drawn_backgrounds_have_the_shape(kind: str, shape: tuple[int, int]) -> None:
    drawn = ProceduralBackgrounds({kind: 1}).draw(rng(), shape)
    assert drawn.shape == (*shape, 3)
    assert drawn.dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_backgrounds_are_determined_and_diverse(kind: str) -> None:
    source = ProceduralBackgrounds({kind: 1})
    means = [source.draw(rng(seed), (64, 64)).mean(axis=(0, 1)) for seed in range(12)]
    assert np.array_equal(source.draw(rng(4), (64, 64)), source.draw(rng(4), (64, 64)))
    assert np.std(means, axis=0).min() > 8


def test_weights_of_drawn_backgrounds() -> None:
    only_sky = ProceduralBackgrounds({"sky": 1, "soil": 0}).draw(rng(2), (32, 32))
    assert np.array_equal(
        only_sky, ProceduralBackgrounds({"sky": 2, "soil": 0}).draw(rng(2), (32, 32))
    )
    with pytest.raises(LazarusError, match="no drawn background 'lava': choose from soil"):
        ProceduralBackgrounds({"lava": 1})
    for weights in ({}, {"sky": 0.0}, {"sky": -1.0, "soil": 3.0}):
        with pytest.raises(LazarusError, match="weights"):
            ProceduralBackgrounds(weights)


def test_folder(folder: Path) -> None:
    source = FolderBackgrounds(folder)
    drawn = [source.draw(rng(seed), (50, 40)) for seed in range(12)]
    assert {picture.shape for picture in drawn} == {(50, 40, 3)}
    assert {int(picture[0, 0, 0]) for picture in drawn} == {60, 120, 180}
    assert np.array_equal(source.draw(rng(1), (50, 40)), drawn[1])


def test_a_leaf_in_the_folder_is_taken_out(tmp_path: Path) -> None:
    save(tmp_path / "grounds", "leaf.png", leaf_scene(GREY)[0])
    picture = FolderBackgrounds(tmp_path / "grounds").draw(rng(), (128, 128)).astype(int)
    assert (picture[..., 1] - picture[..., 2]).max() < 15


def test_a_folder_that_cannot_serve(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(LazarusError, match="is no folder"):
        FolderBackgrounds(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LazarusError, match="holds no photo"):
        FolderBackgrounds(tmp_path / "empty")
    for path in folder.glob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(LazarusError, match="cannot be backgrounds"):
        FolderBackgrounds(folder).draw(rng(), (32, 32))


def test_a_broken_photo_in_the_folder_is_passed_over(folder: Path) -> None:
    (folder / "0.png").write_bytes(b"broken")
    drawn = {int(FolderBackgrounds(folder).draw(rng(s), (20, 20))[0, 0, 0]) for s in range(12)}
    assert drawn == {120, 180}


def test_surroundings_of_other_photos(tmp_path: Path) -> None:
    donors = [save(tmp_path, f"{n}.png", leaf_scene(GREY, seed=n)[0]) for n in range(2)]
    source = SurroundingBackgrounds(donors)
    picture = source.draw(rng(), (128, 128))
    assert picture.shape == (128, 128, 3)
    assert np.abs(picture.mean(axis=(0, 1)) - GREY).max() < 8
    assert np.array_equal(picture, source.draw(rng(), (128, 128)))


def test_donors_without_a_confident_mask_give_way_to_drawn_grounds(tmp_path: Path) -> None:
    donor = save(tmp_path, "corn.png", frame_filling_leaf())
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")

    class Red:
        def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
            return np.full((*shape, 3), (255, 0, 0), dtype=np.uint8)

    picture = SurroundingBackgrounds([donor, broken], Red()).draw(rng(), (32, 32))
    assert (picture == (255, 0, 0)).all()
    assert SurroundingBackgrounds([donor]).draw(rng(), (32, 48)).shape == (32, 48, 3)
    with pytest.raises(LazarusError, match="at least one photo"):
        SurroundingBackgrounds([])


def test_mixture(folder: Path) -> None:
    sources: list[tuple[BackgroundSource, float]] = [
        (FolderBackgrounds(folder), 3.0),
        (ProceduralBackgrounds(), 1.0),
    ]
    mixed = MixedBackgrounds(sources)
    flat = [np.ptp(mixed.draw(rng(seed), (32, 32))) == 0 for seed in range(80)]
    assert 0.6 < np.mean(flat) < 0.9
    assert np.array_equal(mixed.draw(rng(7), (32, 32)), mixed.draw(rng(7), (32, 32)))
    with pytest.raises(LazarusError, match="weights"):
        MixedBackgrounds([])
    with pytest.raises(LazarusError, match="weights"):
        MixedBackgrounds([(ProceduralBackgrounds(), 0)])


@pytest.mark.parametrize("size", [(10, 10), (300, 20), (64, 64), (1, 1)])
def test_framed_gives_the_shape_from_any_picture(size: tuple[int, int]) -> None:
    picture = rng().integers(0, 256, (*size, 3), dtype=np.uint8)
    assert framed(picture, rng(), (64, 48)).shape == (64, 48, 3)
