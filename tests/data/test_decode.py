from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lazarus_pl.data.decode import (
    PhotoError,
    open_photo,
    opened,
    read_bytes,
    read_pixels,
    stretch,
)
from lazarus_pl.data.header import Header


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 20) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 6, y * 12, 255 - x * 6], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "JPEG"])
def test_all_formats_give_the_same_picture(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    image = open_photo(encoded(gradient(), kind, **options))
    assert image.mode == "RGB"
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(gradient()).astype(int))
    assert difference.max() == 0 or (kind == "JPEG" and difference.mean() < 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    data = encoded(gradient(), exif=exif.tobytes())
    expected = gradient().transpose(turns[orientation]) if orientation > 1 else gradient()
    assert np.array_equal(np.asarray(open_photo(data)), np.asarray(expected))
    with opened(data) as image:
        header = Header.of(image)
    assert (header.width, header.height) == expected.size


def test_broken_exif_does_not_cost_the_photo() -> None:
    data = encoded(gradient(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xffgarbage")
    assert open_photo(data).size == (40, 20)


def test_alpha_is_laid_on_white() -> None:
    image = gradient().convert("RGBA")
    image.putalpha(0)
    assert np.asarray(open_photo(encoded(image))).min() == 255


def test_palette_with_transparency() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 30])
    opaque = open_photo(encoded(image))
    clear = open_photo(encoded(image, transparency=1))
    assert opaque.getpixel((0, 0)) == (200, 10, 30)
    assert clear.getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    pixels = np.asarray(open_photo(encoded(Image.fromarray(values))))[..., 0].astype(int)
    assert np.abs(pixels.ravel() - np.arange(256)).max() <= 1


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_sixteen_bits_may_hold_values_of_fewer(bits: int) -> None:
    values = np.linspace(0, 2**bits - 1, 256).astype(np.uint16).reshape(16, 16)
    pixels = np.asarray(open_photo(encoded(Image.fromarray(values))))[..., 0].astype(int)
    assert np.abs(pixels.ravel() - np.arange(256)).max() <= 1


def test_photos_of_a_camera_of_twelve_bits_are_scaled_alike() -> None:
    dark, bright = (np.full((16, 16), 500, np.uint16) for _ in range(2))
    dark[0, 0], bright[0, 0] = 900, 4095
    one, other = (np.asarray(open_photo(encoded(Image.fromarray(v))))[1:] for v in (dark, bright))
    assert one.tolist() == other.tolist()
    assert one.max() == 31


def test_cmyk_grey_and_one_bit() -> None:
    assert open_photo(encoded(gradient().convert("CMYK"), "JPEG")).mode == "RGB"
    assert open_photo(encoded(gradient().convert("L"))).mode == "RGB"
    assert open_photo(encoded(gradient().convert("1"))).mode == "RGB"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_photo_is_refused_not_half_decoded(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(PhotoError):
        open_photo(data[: int(len(data) * share)])


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("at_least", [None, 32])
def test_a_jpeg_that_ends_early_but_in_order_is_refused(
    mode: str, share: float, at_least: int | None
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise).convert(mode), "JPEG")
    open_photo(data, at_least)
    with pytest.raises(PhotoError, match="lower part is missing"):
        open_photo(data[: int(len(data) * share)] + b"\xff\xd9", at_least)


def test_a_grey_jpeg_is_a_photo() -> None:
    open_photo(encoded(Image.new("RGB", (40, 40), (128, 128, 128)), "JPEG"))


def test_values_that_are_no_numbers_are_refused() -> None:
    values = np.full((8, 8), 0.5, dtype=np.float32)
    values[3, 3] = np.nan
    with pytest.raises(PhotoError, match="not finite"):
        open_photo(encoded(Image.fromarray(values), "TIFF"))


def test_a_file_larger_than_any_photo_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(200_000_000_000)
    with pytest.raises(PhotoError, match="more than any photo has"):
        read_bytes(tmp_path / "huge.jpg")


@pytest.mark.parametrize("data", [b"", b"not a photo at all", b"\xff\xd8\xff\xe0", b"GIF89a" * 9])
def test_what_is_no_photo_is_refused(data: bytes) -> None:
    with pytest.raises(PhotoError):
        open_photo(data)


def _png(width: int, height: int) -> bytes:
    """A header that promises any size, with no pixels behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    with pytest.raises(PhotoError, match="bomb"):
        open_photo(_png(60_000, 60_000))


@pytest.mark.parametrize("size", [(0, 10), (10, 0)])
def test_a_photo_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(PhotoError, match="has no pixels"):
        open_photo(_png(*size))


def test_stretch_keeps_the_borders_and_the_corners() -> None:
    pixels = stretch(gradient(400, 20), 32)
    assert pixels.shape == (32, 32, 3)
    assert pixels[0, 0, 0] < 60 < pixels[0, 8, 0]
    assert pixels[-1, 0, 1] > 200


def test_a_large_jpeg_decoded_at_a_fraction_looks_the_same() -> None:
    large = gradient(40, 20).resize((2400, 1600), Image.Resampling.BICUBIC)
    data = encoded(large, "JPEG", quality=95)
    quick = read_pixels(data, 64).astype(int)
    thorough = stretch(open_photo(data), 64).astype(int)
    assert np.abs(quick - thorough).mean() < 1.0


@pytest.mark.parametrize("at_least", [None, 32, 128])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_ends_early_with_an_end_marker_is_refused(
    mode: str, share: float, at_least: int | None
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (403, 410, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise).convert(mode), "JPEG", quality=90)
    assert open_photo(data, at_least).mode == "RGB"
    with pytest.raises(PhotoError, match="lower part is missing"):
        open_photo(data[: int(len(data) * share)] + b"\xff\xd9", at_least)


@pytest.mark.parametrize("at_least", [None, 32])
def test_a_grey_photo_and_one_with_grey_margins_are_whole(at_least: int | None) -> None:
    grey = Image.new("RGB", (400, 400), (128, 128, 128))
    assert open_photo(encoded(grey, "JPEG"), at_least).mode == "RGB"
    grey.paste(gradient(400, 200), (0, 100))
    assert open_photo(encoded(grey, "JPEG", quality=95), at_least).mode == "RGB"


def test_lab_is_taken_alike_by_scan_and_encoder() -> None:
    data = encoded(Image.merge("LAB", gradient().split()), "TIFF")
    scanned = open_photo(data, at_least=256)
    assert scanned.mode == "RGB"
    assert np.array_equal(stretch(scanned, 16), read_pixels(data, 16))
