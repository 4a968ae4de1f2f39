"""Thumbnails and plots that live inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from lazarus_pl.data.decode import PhotoError, open_photo, read_bytes
from lazarus_pl.duration import say_duration

_SIDE = 112
_QUALITY = 82


def thumbnail(path: Path) -> str:
    """A photo as a small JPEG in a ``data:`` address; nothing if it cannot be read any more."""
    try:
        image = open_photo(read_bytes(path), at_least=_SIDE)
    except PhotoError:
        return ""
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def reach_plot(reach: Mapping[str, Any]) -> str:
    """Macro-F1 against the distance to the nearest training photo, as an SVG element."""
    from matplotlib.figure import Figure

    steps = reach["steps"]
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(steps))
    axes.plot(places, [step["macro_f1"] for step in steps], "o-", color="#1b6e3c", lw=2)
    for place, step in zip(places, steps, strict=True):
        axes.annotate(
            f"{step['macro_f1']:.2f}",
            (place, step["macro_f1"]),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
        )
    axes.set_xticks(places, [_step_name(reach["unit"], step) for step in steps])
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("macro-F1 (quick linear head)")
    axes.set_xlabel("median distance to the nearest training photo")
    axes.grid(axis="y", alpha=0.3)
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _step_name(unit: str | None, step: Mapping[str, Any]) -> str:
    distance = step["distance"]
    if unit is None:
        name = f"{distance:.2f}"
    elif unit == "seconds":
        name = f"{say_duration(distance)} away"
    else:
        name = "same leaf" if distance <= 1 else f"{distance:.0f} photos away"
    return f"{name}\n{step['photos']} photos"
