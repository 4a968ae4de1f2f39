"""Pages and texts out of templates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2


def templates(folder: Path, **filters: Callable[..., Any]) -> jinja2.Environment:
    """The templates of a folder; what ``*.html.jinja`` is given is escaped.

    Args:
        folder: Where they lie.
        **filters: What they may call, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment
