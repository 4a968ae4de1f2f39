"""A folder holds what was made of one dataset."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from lazarus_pl.data.listing import LabelFrom, list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.sha256_of_file import sha256_of_file
from lazarus_pl.errors import LazarusError


def check_same_data(data: Path, folder: Path, label_from: LabelFrom) -> None:
    """Refuses data of which no photo is in a folder's manifest; without one, nothing.

    Files are read until one is found that is there, and only those of a size that is there.

    Args:
        data: As of :func:`~lazarus_pl.data.listing.list_photos`.
        folder: That of the manifest.
        label_from: As of the same function.

    Raises:
        LazarusError: If all photos are others, or there are none.
    """
    if not (folder / "manifest.csv").exists():
        return
    before = Manifest.read_photos(folder)
    sizes, digests = set(before.column("bytes")), set(before.column("sha256"))
    root, listed = list_photos(data, label_from)
    paths = (root / item.path for item in listed if item.looks_like_a_photo)
    if digests and not any(_digest(path, sizes) in digests for path in paths):
        raise LazarusError(
            f"'{folder}' holds other photos than '{data}', not one is the same: name another "
            "folder with --out"
        )


def _digest(path: Path, sizes: Set[str]) -> str:
    try:
        return sha256_of_file(path) if str(path.stat().st_size) in sizes else ""
    # a photo that cannot be read is none that is known
    except OSError:
        return ""
