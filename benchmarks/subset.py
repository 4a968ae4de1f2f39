"""Some of the photos of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

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
    places = np.unique(np.linspace(0, len(usable) - 1, min(count, len(usable))).astype(int))
    for item in (usable[place] for place in places):
        target = folder / item.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / item.path, target)
    return folder
