"""A photo with its map, for a person to read at a glance."""

from __future__ import annotations

import math
from functools import cache, lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from lazarus_pl.explain.localisation_score import laid_over
from lazarus_pl.picture_font import picture_font

Pixels = npt.NDArray[np.uint8]

# of a photo as it is shown
_LEAST_SIDE = 256
_MOST_SIDE = 360
# room for words below a slim one
_NARROWEST = 240
_MARGIN = 12
_HEAD = 58
_FOOT = 58
_BLACK = 0
_GREY = 85
_RAMP = np.array([[255, 237, 160], [254, 178, 76], [240, 59, 32], [128, 0, 38]], dtype=np.float32)


def to_be_seen(pixels: Pixels) -> Pixels:
    """A photo at a size to look at; one that is large enough is not enlarged.

    Args:
        pixels: RGB ``(H, W, 3)``.
    """
    longest = max(pixels.shape[:2])
    factor = min(max(longest, _LEAST_SIDE), _MOST_SIDE) / longest
    if factor == 1:
        return pixels
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def overlay(pixels: Pixels, values: npt.NDArray[np.float32]) -> Pixels:
    """Lays the part of a map that speaks for the class over a photo.

    Where nothing speaks for it the photo stays as it is.

    Args:
        pixels: RGB ``(H, W, 3)``.
        values: ``(h, w)`` over the whole photo.
    """
    strength = np.clip(laid_over(values, pixels.shape[:2]) / max(float(values.max()), 1e-9), 0, 1)
    speaks = np.flatnonzero(strength > 0.15)
    there, mixed = strength.ravel()[speaks], pixels.reshape(-1, 3).copy()
    alpha = 0.8 * np.sqrt(there)[:, None]
    mixed[speaks] = mixed[speaks] * (1 - alpha) + _colours(there) * alpha
    return mixed.reshape(pixels.shape)


def as_png(pixels: Pixels) -> bytes:
    """RGB ``(H, W, 3)`` as a PNG file: as small as Pillow's, in about half the time."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, 0]
    # to try all filters on every line takes longer than to deflate; old releases cannot choose
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    return encoded.tobytes()


def picture(
    photo: Pixels, laid_over_it: Pixels, lines: tuple[str, str], most: float, meaning: str
) -> Pixels:
    """Photo, overlay, words and a scale on one sheet, RGB ``(H, W, 3)``.

    Args:
        photo: RGB ``(H, W, 3)``, as :func:`to_be_seen` gives it.
        laid_over_it: The same photo under :func:`overlay`.
        lines: The diagnosis, and what else to know.
        most: What the end of the scale stands for; there is no scale where nothing is marked.
        meaning: What the scale measures.
    """
    height, width = photo.shape[:2]
    second = 2 * _MARGIN + max(width, _NARROWEST)
    sheet = np.full((_HEAD + height + _FOOT, second + second - _MARGIN, 3), 255, dtype=np.uint8)
    sheet[_HEAD : _HEAD + height, _MARGIN : _MARGIN + width] = photo
    sheet[_HEAD : _HEAD + height, second : second + width] = laid_over_it
    _put(sheet, _MARGIN, 6, _words(lines[0], 18, _BLACK))
    rows = _wrapped(lines[1], sheet.shape[1] - 2 * _MARGIN)
    for top, row in zip((34,) if len(rows) == 1 else (28, 42), rows, strict=True):
        _put(sheet, _MARGIN, top, _words(row, 13, _GREY))
    if most <= 0:
        return sheet
    _put(sheet, second, _HEAD + height + 8, _scale())
    extent = _words(f"0 to {most:.2g}", 12, _BLACK)
    _put(sheet, second + 168, _HEAD + height + 6, extent)
    words = _words(meaning, 12, _GREY)
    left = max(_MARGIN, min(second, sheet.shape[1] - _MARGIN - words.shape[1]))
    _put(sheet, left, _HEAD + height + 26, words)
    return sheet


def photo_and_map(sheet: Image.Image) -> Image.Image:
    """The two pictures of a sheet of :func:`picture`, without its words."""
    return sheet.crop((_MARGIN, _HEAD, sheet.width - _MARGIN, sheet.height - _FOOT))


def _put(sheet: Pixels, left: int, top: int, part: Pixels) -> None:
    """Lays a part on a white sheet; what is too long for it is cut off."""
    room = sheet[top : top + part.shape[0], left : left + part.shape[1]]
    # the white around the letters of one row hides none of another's
    np.minimum(room, part[: room.shape[0], : room.shape[1]], out=room)


def _wrapped(line: str, room: int) -> list[str]:
    """Words after commas go to a second row, where one row is too short for them."""
    first, *others = line.split(", ")
    rows = [first]
    for part in others:
        longer = f"{rows[-1]}, {part}"
        if len(rows) == 1 and picture_font(13).getlength(longer) > room:
            rows.append(part)
        else:
            rows[-1] = longer
    return rows


@cache
def _scale() -> Pixels:
    steps = np.linspace(0, 1, 160, dtype=np.float32)[None].repeat(12, axis=0)
    return _colours(steps).astype(np.uint8)


# most pictures of a folder say the same but for a number
@lru_cache(maxsize=512)
def _words(text: str, size: int, shade: int) -> Pixels:
    """A line of text on white, ``(h, w, 1)``."""
    font = picture_font(size)
    _, _, right, bottom = font.getbbox(text)
    strip = Image.new("L", (max(1, math.ceil(right)), max(1, math.ceil(bottom))), 255)
    ImageDraw.Draw(strip).text((0, 0), text, fill=shade, font=font)
    return np.asarray(strip)[..., None]


def _colours(strength: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    place = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(strength, place, _RAMP[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)
