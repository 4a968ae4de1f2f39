from __future__ import annotations

import io

import pytest
from PIL import Image

from lazarus_pl.data.decode import PhotoError, opened
from lazarus_pl.data.header import Header

DATE_TIME, DATE_TIME_ORIGINAL, DETAILS, ORIENTATION = 0x0132, 0x9003, 0x8769, 0x0112


def _read(data: bytes) -> Header:
    with opened(data) as image:
        return Header.of(image)


def _bytes(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "format"), [("RGB", "JPEG"), ("L", "PNG"), ("CMYK", "TIFF"), ("RGB", "WEBP")]
)
def test_says_what_the_file_is(mode: str, format: str) -> None:
    header = _read(_bytes(Image.new(mode, (30, 20)), format))
    assert (header.format, header.mode) == (format, mode)
    assert (header.width, header.height, header.orientation, header.taken) == (30, 20, 1, "")


@pytest.mark.parametrize(("orientation", "size"), [(1, (30, 20)), (3, (30, 20)), (6, (20, 30))])
def test_size_is_that_of_the_upright_photo(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    header = _read(_bytes(Image.new("RGB", (30, 20)), "JPEG", exif=exif))
    assert (header.width, header.height) == size
    assert header.orientation == orientation


def test_an_orientation_that_cannot_be_is_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 77
    assert _read(_bytes(Image.new("RGB", (30, 20)), "JPEG", exif=exif)).orientation == 1


def test_takes_the_time_of_the_picture_before_that_of_the_file() -> None:
    exif = Image.Exif()
    exif[DATE_TIME] = "2020:01:01 00:00:00"
    assert _read(_bytes(Image.new("RGB", (8, 8)), "JPEG", exif=exif)).taken.startswith("2020")
    exif.get_ifd(DETAILS)[DATE_TIME_ORIGINAL] = "2019:05:06 07:08:09"
    header = _read(_bytes(Image.new("RGB", (8, 8)), "JPEG", exif=exif))
    assert header.taken == "2019:05:06 07:08:09"


def test_no_photo_is_a_reason() -> None:
    with pytest.raises(PhotoError, match="header is broken"):
        _read(b"no photo at all")
