from __future__ import annotations

from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from lazarus_pl.data.decode import PhotoError
from lazarus_pl.data.listing import Listed
from lazarus_pl.data.scan import inspect_photo
from tests.conftest import save_noise


@pytest.mark.parametrize("size", [1, 33, 64, 200, 700])
def test_inspects_a_photo_of_any_size(size: int, tmp_path: Path) -> None:
    save_noise(tmp_path / "a.png", size)
    found = inspect_photo(tmp_path / "a.png", Listed("a.png", "a"))
    assert (found.photo.width, found.photo.height) == found.image.size == (size, size)
    assert found.photo.phash == str(imagehash.phash(found.small))
    assert found.photo.bytes == (tmp_path / "a.png").stat().st_size
    assert min(found.small.size) == size if size < 64 else 32 <= min(found.small.size) < 64


def test_a_large_jpeg_is_decoded_at_a_fraction_that_looks_the_same(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 2048, dtype=np.uint8)
    pixels = np.stack([np.tile(ramp, (1600, 1)), np.tile(ramp[:1600, None], 2048)], axis=-1)
    pixels = np.concatenate([pixels, pixels[..., :1]], axis=-1)
    Image.fromarray(pixels).save(tmp_path / "large.jpg", quality=95)
    found = inspect_photo(tmp_path / "large.jpg", Listed("large.jpg", "a"))
    assert (found.photo.width, found.photo.height) == (2048, 1600)
    assert 256 <= min(found.image.size) < 512
    whole = Image.fromarray(pixels).resize(found.image.size)
    assert np.abs(np.asarray(whole).astype(int) - np.asarray(found.image)).mean() < 2


def test_other_names_are_refused(tmp_path: Path) -> None:
    save_noise(tmp_path / "a.png")
    with pytest.raises(PhotoError, match="not that of a photo"):
        inspect_photo(tmp_path / "a.png", Listed("a.txt", "a"))
