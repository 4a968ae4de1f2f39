"""Pictures that live inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

_WIDEST = 720
_QUALITY = 80


def inline_picture(path: Path) -> str:
    """A picture as a JPEG in a ``data:`` address; nothing if it cannot be read."""
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError:
        return ""
    image.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
