"""Opens every photo once: digest, size, perceptual hash, or the reason why it cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import imagehash

from lazarus_pl.data.decode import PhotoError, open_photo, read_bytes
from lazarus_pl.data.header import Header
from lazarus_pl.data.listing import Listed
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.rejected import Rejected

# phash shrinks a photo to 32x32: a JPEG decoded at 1/8 of its size still has more than enough
_HASHED_SIDE = 32


def scan_photos(
    root: Path,
    listed: Sequence[Listed],
    known: Mapping[str, Photo] | None = None,
    progress: Callable[[Photo | Rejected], None] = lambda _: None,
) -> tuple[list[Photo], list[Rejected]]:
    """Checks all listed files on all cores, in the order listed.

    The perceptual hash is ImageHash's pHash (64 bits).

    Args:
        root: What relative paths are relative to.
        listed: The files.
        known: Photos of an earlier scan by path; a file with the same size and modification time
            is not opened again.
        progress: Called with each result as it comes.

    Returns:
        The usable photos, and the others with their reasons.
    """
    known = known or {}
    photos: list[Photo] = []
    rejected: list[Rejected] = []
    for result in ordered_map(lambda item: _scan(root, item, known.get(item.path)), listed):
        progress(result)
        if isinstance(result, Photo):
            photos.append(result)
        else:
            rejected.append(result)
    return photos, rejected


def _scan(root: Path, item: Listed, known: Photo | None) -> Photo | Rejected:
    path = root / item.path
    if not item.looks_like_a_photo:
        return Rejected(item.path, item.label, "its name is not that of a photo")
    try:
        if known is not None and _unchanged(path, known):
            return _labelled(known, item)
        data = read_bytes(path)
        header = Header.read(data)
        image = open_photo(data, at_least=_HASHED_SIDE, grey=True)
        return Photo(
            path=item.path,
            label=item.label,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            width=header.width,
            height=header.height,
            phash=str(imagehash.phash(image)),
            modified=path.stat().st_mtime_ns,
            group=item.group,
            split=item.split,
        )
    except PhotoError as error:
        return Rejected(item.path, item.label, str(error))
    except OSError as error:
        return Rejected(item.path, item.label, f"cannot be read: {error.strerror or error}")


def _unchanged(path: Path, known: Photo) -> bool:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns) == (known.bytes, known.modified)


def _labelled(photo: Photo, item: Listed) -> Photo:
    return replace(photo, label=item.label, group=item.group, split=item.split)
