"""Pictures that live inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from lazarus_pl.explain.picture import photo_and_map

_WIDEST = 720
_QUALITY = 80


def inline_picture(path: Path) -> str:
    """A photo with its map as a JPEG in a ``data:`` address; nothing if it cannot be read.

    Args:
        path: A sheet of ``lazarus explain``, whose words would be too small to read here.
    """
    try:
        with Image.open(path) as file:
            image = photo_and_map(file.convert("RGB"))
    except OSError:
        return ""
    image.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
