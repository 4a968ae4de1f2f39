from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lazarus_pl.audit.measures import Measures
from lazarus_pl.data.decode import opened
from lazarus_pl.data.header import Header
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.scan import Inspected

PHOTO = Photo("a.jpg", "a", 1, "", 64, 48, "0" * 16, 0)
HEADER = Header("JPEG", "RGB", 64, 48, 1, "")


def _measure(image: Image.Image, header: Header = HEADER) -> Measures:
    small = image.reduce(max(1, min(image.size) // 32))
    return Measures.of(Inspected(PHOTO, header, image, small))


def _noise(size: tuple[int, int] = (64, 48)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_light_is_that_of_numpy() -> None:
    image = _noise()
    grey = np.asarray(image.convert("L")) / 255
    measures = _measure(image)
    assert measures.brightness == pytest.approx(grey.mean(), abs=1e-3)
    assert measures.contrast == pytest.approx(grey.std(), abs=1e-3)
    clipped = ((grey < 7.5 / 255) | (grey > 247.5 / 255)).mean()
    assert measures.clipped == pytest.approx(clipped, abs=1e-4)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    image = _noise()
    grey = np.asarray(image)[:, :, 1].astype(float)
    exact = (
        grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    )[::4]
    assert _measure(image).sharpness == pytest.approx(exact.var(), rel=1e-3)


def test_a_blurred_photo_is_less_sharp() -> None:
    image = _noise()
    blurred = image.filter(ImageFilter.GaussianBlur(2))
    assert _measure(blurred).sharpness < _measure(image).sharpness / 10


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (3, 3), (700, 300), (256, 256)])
def test_any_size_can_be_measured(size: tuple[int, int]) -> None:
    measures = _measure(_noise(size))
    assert np.isfinite([measures.sharpness, measures.contrast]).all()
    assert measures.border_colours.shape == (8, 3)


def test_the_border_is_corners_and_middles_of_sides() -> None:
    pixels = np.full((192, 256, 3), 128, dtype=np.uint8)
    pixels[:6, :6] = (255, 0, 0)
    pixels[:6, 124:136] = (0, 255, 0)
    pixels[-6:, -6:] = (0, 0, 255)
    colours = _measure(Image.fromarray(pixels)).border_colours
    assert colours[0].tolist() == [255, 0, 0]
    assert colours[1].tolist() == [0, 255, 0]
    assert colours[7].tolist() == [0, 0, 255]
    assert (colours[2:7] == 128).all()


def test_a_row_is_read_back_as_it_was() -> None:
    buffer = io.BytesIO()
    _noise().save(buffer, "PNG")
    with opened(buffer.getvalue()) as image:
        measures = _measure(_noise(), Header.of(image))
    row = dict(zip(Measures.columns(), map(str, measures.to_row()), strict=True))
    assert Measures.from_row(row) == measures
    with pytest.raises(ValueError, match="border"):
        Measures.from_row({**row, "border": row["border"][:-2]})
