"""Configs that come with the package."""

from __future__ import annotations

from pathlib import Path

import lazarus_pl


def shipped_config(name: str) -> Path:
    """The path of a file of ``configs/``, from a checkout or from an installed wheel.

    Args:
        name: Path below ``configs/``, with forward slashes.
    """
    package = Path(lazarus_pl.__file__).parent
    installed = package / "configs" / name
    path = installed if installed.exists() else package.parent / "configs" / name
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
