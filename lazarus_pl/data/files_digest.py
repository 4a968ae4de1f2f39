"""Which files a folder holds, in one digest."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def files_digest(folder: Path) -> str:
    """SHA-256 of names, sizes and modification times of all files; none of them is opened.

    Hidden files and folders are left out, links to folders are not followed, as in
    :func:`~lazarus_pl.data.listing.list_photos`. Files are taken in the order in which the system
    lists them: were it to change, the digest would, and whoever compares it look more closely.

    Raises:
        OSError: If a folder cannot be listed.
    """
    digest = hashlib.sha256()
    folders = [os.fspath(folder)]
    while folders:
        parent = folders.pop()
        with _opened(parent) as opened:
            inner, names, stats = _listed(opened)
        folders += [os.fspath(Path(parent, name)) for name in inner]
        for text in (os.path.relpath(parent, folder), "/".join(names)):
            digest.update(f"{text}\0".encode("utf-8", "surrogateescape"))
        digest.update(stats)
    return digest.hexdigest()


@contextmanager
def _opened(folder: str) -> Iterator[int | str]:
    """A folder by its descriptor: no path is walked for each of its files, where that may be."""
    if os.scandir not in os.supports_fd:
        yield folder
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        yield number
    finally:
        os.close(number)


def _listed(opened: int | str) -> tuple[list[str], list[str], array[int]]:
    """Folders in a folder, its files, and sizes and times of those."""
    folders: list[str] = []
    names: list[str] = []
    stats = array("q")
    with os.scandir(opened) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            names.append(name)
            stats.extend(seen(entry))
    return folders, names, stats


def seen(entry: Path | os.DirEntry[str]) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds; -1 for both of what is not there."""
    try:
        status = entry.stat()
    # a link to nowhere
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
