"""Some of the photos of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

from lazarus_pl.data.listing import list_photos


def subset(data: Path, folder: Path, count: int) -> Path:
    """Copies photos of all classes, evenly spaced.

    Args:
        data: Class folders.
        folder: Gets the copies.
        count: How many, at most.

    Returns:
        The folder.
    """
    root, listed = list_photos(data)
    usable = [item for item in listed if item.looks_like_a_photo and item.label]
    step = max(1, len(usable) // count)
    for item in usable[::step][:count]:
        target = folder / item.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / item.path, target)
    return folder
