"""What can be measured of one photo in the moment in which its pixels are there."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from PIL import Image

from lazarus_pl.data.scan import Inspected

SIDE = 256
BORDER_SPOTS = 8

_LEVELS = np.arange(256) / 255


@dataclass(frozen=True, slots=True)
class Measures:
    """Format and light of one photo, at a size at which photos can be compared.

    Sharpness is measured at 256 pixels, light and border at 32 to 63: every value there is the
    mean of a square, so that one noisy pixel decides nothing.

    Attributes:
        format: ``JPEG``, ``PNG``, ``WEBP``, ``BMP`` or ``TIFF``.
        mode: Pillow's mode of the file.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        taken: EXIF time ``YYYY:MM:DD HH:MM:SS``, or nothing.
        brightness: Mean of the grey values, 0 to 1.
        contrast: Standard deviation of the grey values, 0 to 0.5.
        clipped: Share of grey values that are as good as black or white.
        sharpness: Variance of the Laplacian of green in squared levels (Pech-Pacheco et al. 2000,
            ICPR): low in a blurred photo.
        border: RGB of eight spots of the border, the corners and the middles of the sides, from
            the top left, row by row; 48 hex digits.
    """

    format: str
    mode: str
    orientation: int
    taken: str
    brightness: float
    contrast: float
    clipped: float
    sharpness: float
    border: str

    @classmethod
    def of(cls, inspected: Inspected) -> Measures:
        """Measures an opened photo."""
        header, image, small = inspected.header, inspected.image, inspected.small
        if min(image.size) > SIDE:
            scale = SIDE / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        grey = small.convert("L").histogram()
        shares = np.array(grey) / (small.width * small.height)
        brightness = float(shares @ _LEVELS)
        return cls(
            format=header.format,
            mode=header.mode,
            orientation=header.orientation,
            taken=header.taken,
            brightness=round(brightness, 4),
            contrast=round(float(shares @ np.square(_LEVELS - brightness)) ** 0.5, 4),
            clipped=round(float(shares[:8].sum() + shares[-8:].sum()), 4),
            sharpness=round(_sharpness(np.asarray(image.getchannel("G"))), 2),
            border=_border(np.asarray(small)).tobytes().hex(),
        )

    @classmethod
    def from_row(cls, row: dict[str, str]) -> Measures:
        """Builds measures from one row of the survey's table.

        Raises:
            KeyError: If a column is missing.
            ValueError: If a value is not one.
        """
        if len(bytes.fromhex(row["border"])) != 3 * BORDER_SPOTS:
            raise ValueError("border is cut short")
        return cls(
            format=row["format"],
            mode=row["mode"],
            orientation=int(row["orientation"]),
            taken=row["taken"],
            brightness=float(row["brightness"]),
            contrast=float(row["contrast"]),
            clipped=float(row["clipped"]),
            sharpness=float(row["sharpness"]),
            border=row["border"],
        )

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The survey's columns, in order."""
        return tuple(field.name for field in fields(cls))

    def to_row(self) -> tuple[str | int | float, ...]:
        """The values of :meth:`columns`, in order."""
        return tuple(getattr(self, name) for name in self.columns())

    @property
    def border_colours(self) -> npt.NDArray[np.uint8]:
        """RGB of the eight spots, ``(8, 3)``."""
        return np.frombuffer(bytes.fromhex(self.border), dtype=np.uint8).reshape(-1, 3)


def _sharpness(channel: npt.NDArray[np.uint8]) -> float:
    """Of every fourth row, which is enough and a quarter of the work."""
    if min(channel.shape) < 3:
        return 0.0
    above, rows, below = (channel[n : n - 2 or None : 4].astype(np.int16) for n in range(3))
    laplacian = above[:, 1:-1] + below[:, 1:-1] + rows[:, :-2] + rows[:, 2:] - 4 * rows[:, 1:-1]
    return float(laplacian.var(dtype=np.float32))


def _border(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Corners and middles of the sides."""
    rows, columns = (np.array([0, length // 2, length - 1]) for length in pixels.shape[:2])
    spots = pixels[rows[:, None], columns].reshape(9, 3)
    # the fourth of three by three is the middle of the photo
    return np.delete(spots, 4, axis=0)
