"""Policies and photos for tests."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from lazarus_pl.views.view_policy import ViewPolicy


def policy(folder: Path, text: str, name: str = "policy.yaml") -> ViewPolicy:
    """Writes a policy and reads it."""
    (folder / name).write_text(text, encoding="utf-8")
    return ViewPolicy.read(folder / name)


def as_png(pixels: np.ndarray) -> tuple[bytes, str]:
    """A photo's bytes and their digest."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()
