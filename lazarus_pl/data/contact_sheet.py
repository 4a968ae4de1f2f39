"""Many small pictures on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from lazarus_pl.picture_font import picture_font

_MARGIN = 6
_CAPTION = 22


def contact_sheet(
    rows: Mapping[str, Sequence[npt.NDArray[np.uint8]]], side: int = 128
) -> Image.Image:
    """Lays pictures out, a row a caption.

    Args:
        rows: RGB pictures ``(H, W, 3)`` by caption.
        side: Side in pixels that each picture is resized to.

    Returns:
        The sheet, on white.
    """
    longest = max((len(pictures) for pictures in rows.values()), default=0)
    step = side + _MARGIN
    height = len(rows) * (step + _CAPTION) + _MARGIN
    sheet = Image.new("RGB", (longest * step + _MARGIN, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = picture_font(15)
    for number, (caption, pictures) in enumerate(rows.items()):
        top = _MARGIN + number * (step + _CAPTION)
        draw.text((_MARGIN, top), caption, fill="black", font=font)
        for place, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(small, (_MARGIN + place * step, top + _CAPTION))
    return sheet
