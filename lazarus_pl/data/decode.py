"""Photo files to upright RGB pixels: everything, or a reason, never half of a photo."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow opens MPO, the JPEG of some phones, as JPEG
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"})
MAX_PIXELS = 100_000_000
MAX_BYTES = 500_000_000

_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# in bits: cameras store twelve in 16; with more steps, photos of one camera would differ more often
_DEPTHS = (8, 12, 16)

# Pillow's own limits lie on both sides of MAX_PIXELS; such photos are rejected here with a reason.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class PhotoError(Exception):
    """A photo cannot be used; the text is the reason that stands in the quarantine.

    Attributes:
        may_pass: Whether the photo is not to blame, so that it may be usable another time.
    """

    def __init__(self, reason: str, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


def read_bytes(path: Path) -> bytes:
    """Reads a photo's file.

    Raises:
        PhotoError: If there is no such file, it is no regular file, it is empty or unreadable.
    """
    try:
        if path.is_symlink() and not path.exists():
            raise PhotoError("broken symbolic link")
        if not path.is_file():
            raise PhotoError("not a regular file" if path.exists() else "no such file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PhotoError(f"{size / 1e6:,.0f} MB are more than any photo has")
        data = path.read_bytes()
    except OSError as error:
        raise PhotoError(f"cannot be read: {error.strerror or error}", may_pass=True) from error
    except MemoryError as error:
        raise PhotoError("needs more memory than there is", may_pass=True) from error
    if not data:
        raise PhotoError("empty file")
    return data


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Opens a photo's bytes; its header is read, its pixels are not yet.

    Raises:
        PhotoError: If the bytes are no photo, or what is done with the image in the block fails.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image
    except PhotoError:
        raise
    except UnidentifiedImageError as error:
        if _is_empty_png(data):
            raise PhotoError("has no pixels") from error
        raise PhotoError(
            "not a JPEG, PNG, WebP, BMP or TIFF image, or its header is broken"
        ) from error
    except Image.DecompressionBombError as error:
        raise PhotoError("more pixels than any photo has (decompression bomb)") from error
    except MemoryError as error:
        raise PhotoError("needs more memory than there is", may_pass=True) from error
    # A broken file can make a decoder raise anything; the job must go on.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(f"cannot be decoded: {reason}") from error


def decode(image: Image.Image, at_least: int | None = None) -> Image.Image:
    """Decodes an opened photo completely, turns it upright and converts it to RGB.

    EXIF orientation is applied, alpha is laid on white, and CMYK is converted. Values of more than
    8 bits are scaled from the least usual depth that holds the photo's highest one. Colour profiles
    are ignored.

    Args:
        image: As :func:`opened` gives it.
        at_least: A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as both sides keep
            this many pixels (`Image.draft
            <https://pillow.readthedocs.io/en/stable/reference/Image.html>`_).

    Raises:
        PhotoError: If it has no pixels or too many.
    """
    _check_size(image)
    height = image.height
    if at_least is not None:
        image.draft("RGB", (at_least, at_least))
    image.load()
    if image.format in ("JPEG", "MPO"):
        _check_lower_part(image, height)
    return _to_rgb(_upright(image))


def open_photo(data: bytes, at_least: int | None = None) -> Image.Image:
    """:func:`opened` and :func:`decode` in one step.

    Raises:
        PhotoError: If the bytes are no photo, are cut short, or would decode to too many pixels.
    """
    with opened(data) as image:
        return decode(image, at_least)


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it is broken."""
    try:
        found = int(image.getexif().get(0x0112, 1))
    # Broken EXIF data beside sound pixels can raise anything; the photo is taken as upright.
    except Exception:
        return 1
    return found if 1 <= found <= 8 else 1


def stretch(image: Image.Image, size: int, interpolation: str = "bicubic") -> npt.NDArray[np.uint8]:
    """Resizes the whole photo to a square, so that its borders are kept.

    Args:
        image: RGB photo of any size.
        size: Side of the square in pixels.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, antialiased.

    Returns:
        Pixels of shape ``(size, size, 3)``.
    """
    if image.size != (size, size):
        image = image.resize((size, size), _INTERPOLATION[interpolation])
    return np.asarray(image, dtype=np.uint8)


def read_pixels(data: bytes, size: int, interpolation: str = "bicubic") -> npt.NDArray[np.uint8]:
    """What an encoder sees of a photo: :func:`open_photo`, then :func:`stretch`.

    A JPEG of more than four times the size is decoded at a fraction of its size that is still at
    least twice the size, so that the antialiased resize has enough to work on.

    Args:
        data: The file's bytes.
        size: Side of the square in pixels.
        interpolation: As in :func:`stretch`.

    Returns:
        Pixels of shape ``(size, size, 3)``.

    Raises:
        PhotoError: As in :func:`open_photo`.
    """
    return stretch(open_photo(data, at_least=2 * size), size, interpolation)


def read_large(
    data: bytes, size: int, windows: int, multiple: int, interpolation: str = "bicubic"
) -> npt.NDArray[np.uint8]:
    """Decodes a photo for several windows of ``size`` pixels along its short side.

    Args:
        data: The file's content.
        size: Side of a window.
        windows: Along the short side; fewer where the photo has not so many pixels.
        multiple: What both sides are rounded to.
        interpolation: As of :func:`stretch`.

    Returns:
        uint8 ``(H, W, 3)`` as :func:`fitted` says.

    Raises:
        PhotoError: If it cannot be decoded.
    """
    image = open_photo(data, at_least=2 * size * windows)
    shape = fitted(*image.size, size, windows, multiple)
    if image.size != shape:
        image = image.resize(shape, _INTERPOLATION[interpolation])
    return np.asarray(image, dtype=np.uint8)


def fitted(width: int, height: int, size: int, windows: int, multiple: int) -> tuple[int, int]:
    """Width and height at which a photo is read in windows.

    Both sides are multiples, and the proportions are the photo's own but for the rounding: nothing
    is enlarged but a short side that is less than a window. A photo of one window, or of no more
    pixels than a window has, is stretched to the window, and so is a strip that is so narrow that
    it would get more pixels than any photo has.

    Args:
        width: Of the photo in pixels.
        height: Of the photo in pixels.
        size: Side of a window.
        windows: Along the short side; fewer where the photo has not so many pixels.
        multiple: What both sides are rounded to.
    """
    if windows == 1 or max(width, height) <= size:
        return size, size
    scale = min(1, size * windows / min(width, height))
    across, down = (
        max(size, round(side * scale / multiple) * multiple) for side in (width, height)
    )
    return (across, down) if across * down <= MAX_PIXELS else (size, size)


def _check_size(image: Image.Image) -> None:
    pixels = image.width * image.height
    if pixels == 0:
        raise PhotoError("has no pixels")
    if pixels > MAX_PIXELS:
        raise PhotoError(
            f"{image.width}x{image.height} pixels are more than any photo has (decompression bomb)"
        )


def _check_lower_part(image: Image.Image, full_height: int) -> None:
    """Refuses a JPEG that ends early but in an orderly way: what is missing comes out mid-grey.

    A photo with a grey margin has it on top too.
    """
    rows_of_last_block = (full_height - 1) % 8 + 1
    rows = max(1, rows_of_last_block * image.height // full_height)
    width, height = image.size
    # nearly every photo is whole: a look at its last pixel is enough
    for left, top in ((width - 1, height - 1), (0, height - rows)):
        if not _is_mid_grey(image.crop((left, top, width, height))):
            return
    if not _is_mid_grey(image.crop((0, 0, width, rows))):
        raise PhotoError("its lower part is missing")


def _is_mid_grey(image: Image.Image) -> bool:
    # Adobe's CMYK is inverted: 127
    return {end for band in image.split() for end in band.getextrema()} in ({127}, {128})


def _is_empty_png(data: bytes) -> bool:
    """Whether a PNG's header gives it no width or no height: Pillow takes it for no image."""
    return data.startswith(b"\x89PNG") and b"\0\0\0\0" in (data[16:20], data[20:24])


def _upright(image: Image.Image) -> Image.Image:
    if orientation_of(image) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise PhotoError("has values that are not finite")
    highest = float(values.max())
    white = next((2.0**bits - 1 for bits in _DEPTHS if highest < 2**bits), highest)
    if image.mode == "F" and highest <= 1.0:
        white = 1.0
    return Image.fromarray(np.clip(values * (255 / white), 0, 255).astype(np.uint8))
