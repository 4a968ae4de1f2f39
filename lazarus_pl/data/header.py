"""What a photo's file says of itself before its pixels are decoded."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from lazarus_pl.data.decode import orientation_of

_TAKEN, _DETAILS, _TAKEN_ORIGINALLY = 0x0132, 0x8769, 0x9003


@dataclass(frozen=True, slots=True)
class Header:
    """Size, format and EXIF data of a photo.

    Attributes:
        format: ``JPEG``, ``PNG``, ``WEBP``, ``BMP`` or ``TIFF``.
        mode: Pillow's mode, such as ``RGB``, ``L``, ``CMYK`` or ``I;16``.
        width: In pixels, after the EXIF orientation was applied.
        height: In pixels, after the EXIF orientation was applied.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        taken: EXIF time ``YYYY:MM:DD HH:MM:SS`` of the picture, or nothing.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    taken: str

    @classmethod
    def of(cls, image: Image.Image) -> Header:
        """Reads an opened photo's header; its pixels are not decoded."""
        width, height = image.size
        orientation = orientation_of(image)
        turned = orientation >= 5
        return cls(
            format=image.format or "",
            mode=image.mode,
            width=height if turned else width,
            height=width if turned else height,
            orientation=orientation,
            taken=_taken(image),
        )


def _taken(image: Image.Image) -> str:
    if "exif" not in image.info:
        return ""
    try:
        exif = image.getexif()
        text = exif.get_ifd(_DETAILS).get(_TAKEN_ORIGINALLY) or exif.get(_TAKEN) or ""
        return str(text).strip("\0 ")
    # Broken EXIF data beside sound pixels can raise anything.
    except Exception:
        return ""
