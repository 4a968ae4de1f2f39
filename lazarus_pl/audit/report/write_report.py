"""Writes the page and the Markdown of an audit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.report.pictures import reach_plot, thumbnail
from lazarus_pl.data.atomic import replace_file
from lazarus_pl.duration import say_duration
from lazarus_pl.templates import templates

_TEMPLATES = {"audit.html": "audit.html.jinja", "audit.md": "audit.md.jinja"}


def write_report(report: Mapping[str, Any], data: AuditData, out: Path) -> None:
    """Writes ``audit.html``, one self-contained page, and ``audit.md``.

    Args:
        report: What stands in ``audit.json``.
        data: For thumbnails and border colours.
        out: The folder.

    Raises:
        OSError: If they cannot be written.
    """
    here = Path(__file__).parent
    environment = templates(
        here, percent=_percent, number=_number, duration=say_duration, cell=_cell
    )
    context = {
        "report": report,
        "thumb": cache(lambda path: thumbnail(data.root / path)),
        "reach_plot": reach_plot,
        "borders": _border_colours(data),
    }
    for name, template in _TEMPLATES.items():
        text = environment.get_template(template).render(context)
        with replace_file(out / name) as file:
            # a file name need not be text
            file.write(text.encode("utf-8", "replace"))


def _border_colours(data: AuditData) -> dict[str, list[str]]:
    """Mean colours of the eight spots of the border of each class, as CSS colours."""
    if not data.photos:
        return {}
    colours = np.stack([m.border_colours for m in data.measures]).astype(np.float32)
    return {
        name: [
            "#" + bytes(spot).hex()
            for spot in colours[data.labels == number].mean(axis=0).astype(np.uint8)
        ]
        for number, name in enumerate(data.class_names)
    }


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def _cell(text: str) -> str:
    """As it can stand in a table of Markdown."""
    return text.replace("|", r"\|")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
