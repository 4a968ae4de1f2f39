"""The font of words in pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import ImageFont


# it would be read again each time
@cache
def picture_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib.

    It has Latin with all accents, Greek and Cyrillic, where Pillow's own font draws a box for all
    that is not ASCII. What it lacks is a box too, and stands in tables and pages.

    Args:
        size: In pixels.
    """
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), size)
