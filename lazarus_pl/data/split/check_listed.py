"""What a strategy must be told of every photo: its group, or its side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lazarus_pl.data.decode import PhotoError
from lazarus_pl.data.listing import Listed
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.scan import inspect_photo
from lazarus_pl.data.split.split_spec import SIDES, SplitSpec, split_name
from lazarus_pl.errors import LazarusError


def check_listed(root: Path, listed: Sequence[Listed], spec: SplitSpec) -> None:
    """Refuses data in which a photo has no group or no side and the strategy needs one.

    Files that cannot be used need none: one that lacks it is opened.

    Args:
        root: What relative paths are relative to.
        listed: The files with their right labels; those without one need nothing.
        spec: Strategy and its settings.

    Raises:
        LazarusError: If a photo lacks it.
    """
    needed = {"grouped": group_of, "predefined": side_of}.get(spec.strategy)
    if needed is None:
        return
    for item in listed:
        if not item.label:
            continue
        try:
            needed(item, spec)
        except LazarusError:
            if _is_usable(root, item):
                raise


def group_of(photo: Photo | Listed, spec: SplitSpec) -> str:
    """The group that ``grouped`` finds for a photo.

    Raises:
        LazarusError: If there is none.
    """
    if spec.regex is None:
        if not photo.group:
            raise LazarusError(
                f"the split strategy 'grouped' finds no group for '{photo.path}': give "
                "--split.regex, or a table with a 'group' column"
            )
        return photo.group
    match = re.search(spec.regex, photo.path)
    if match is None:
        raise LazarusError(
            f"the split regex '{spec.regex}' does not match '{photo.path}': every photo needs a "
            "group"
        )
    return match.group(1) if match.re.groups else match.group(0)


def side_of(photo: Photo | Listed, spec: SplitSpec) -> str:
    """The side on which ``predefined`` finds a photo.

    Raises:
        LazarusError: If there is none.
    """
    side = split_name(photo.split)
    if side not in SIDES:
        found = f"'{photo.split}'" if photo.split else "no split"
        raise LazarusError(
            f"the split strategy '{spec.strategy}' finds {found} for '{photo.path}': put the "
            "photos into train, val and test folders, or give a table with a 'split' column"
        )
    return side


def _is_usable(root: Path, item: Listed) -> bool:
    try:
        inspect_photo(root / item.path, item)
    except PhotoError:
        return False
    return True
