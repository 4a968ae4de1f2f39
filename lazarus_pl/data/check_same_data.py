"""A folder holds what was made of one dataset."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from lazarus_pl.data.listing import Listed
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.sha256_of_file import sha256_of_file
from lazarus_pl.errors import LazarusError


def check_same_data(data: Path, root: Path, listed: Sequence[Listed], folder: Path) -> None:
    """Refuses data of which no photo is in a folder's manifest; without one, nothing.

    Files are read until one is found that is there, and only those of a size that is there.

    Args:
        data: What was listed, for the message.
        root: What paths are relative to.
        listed: The files.
        folder: That of the manifest.

    Raises:
        LazarusError: If all photos that can be read are others.
    """
    if not (folder / "manifest.csv").exists():
        return
    before = Manifest.read_photos(folder)
    sizes, digests = set(before.column("bytes")), set(before.column("sha256"))
    was_read = False
    for item in listed:
        digest = _digest(root / item.path, sizes) if item.looks_like_a_photo else None
        if digest in digests:
            return
        was_read |= digest is not None
    # what cannot be read at all is told, file by file, where photos are opened
    if was_read and digests:
        raise LazarusError(
            f"'{folder}' holds other photos than '{data}', not one is the same: name another "
            "folder with --out"
        )


def _digest(path: Path, sizes: Set[str]) -> str | None:
    """Of a file whose size is there, nothing of another; None where it cannot be read."""
    try:
        return sha256_of_file(path) if str(path.stat().st_size) in sizes else ""
    except OSError:
        return None
