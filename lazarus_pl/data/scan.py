"""Opens every photo once: digest, size, perceptual hash, or the reason why it cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from PIL import Image

from lazarus_pl.data.decode import PhotoError, decode, opened, read_bytes
from lazarus_pl.data.header import Header
from lazarus_pl.data.listing import Listed
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.rejected import Rejected

# a large JPEG is decoded at a fraction of its size that still has more than the hash and the audit
# look at
_SIDE = 256
_SMALL_SIDE = 32


class Inspected(NamedTuple):
    """One file, opened.

    Attributes:
        photo: All that a manifest says of it, without side or leaf group of its own.
        header: What its header says.
        image: Upright RGB pixels; both sides of a large photo have at least 256 of them.
        small: The same reduced by a whole factor, to sides of 32 to 63 pixels, if it was larger.
    """

    photo: Photo
    header: Header
    image: Image.Image
    small: Image.Image


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


def inspect_photo(path: Path, item: Listed) -> Inspected:
    """Opens one file: all that a manifest says of it, and its pixels for who wants to look.

    Args:
        path: Where the file is.
        item: How the dataset lists it.

    Raises:
        PhotoError: If it cannot be used.
    """
    if item.refusal:
        raise PhotoError(item.refusal)
    data = read_bytes(path)
    with opened(data) as file:
        header = Header.of(file)
        image = decode(file, at_least=_SIDE)
    small = image.reduce(max(1, min(image.size) // _SMALL_SIDE))
    try:
        modified = path.stat().st_mtime_ns
    except OSError as error:
        raise PhotoError(f"cannot be read: {error.strerror or error}") from error
    photo = Photo(
        path=item.path,
        label=item.label,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        width=header.width,
        height=header.height,
        phash=_phash(small),
        modified=modified,
        group=item.group,
        split=item.split,
    )
    return Inspected(photo, header, image, small)


def is_unchanged(path: Path, known: Photo) -> bool:
    """Whether a file has the size and the modification time that it had when it was inspected."""
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (known.bytes, known.modified)


def relabelled(photo: Photo, item: Listed) -> Photo:
    """A photo as the dataset lists it now."""
    return replace(photo, label=item.label, group=item.group, split=item.split)


def _scan(root: Path, item: Listed, known: Photo | None) -> Photo | Rejected:
    path = root / item.path
    if known is not None and item.looks_like_a_photo and is_unchanged(path, known):
        return relabelled(known, item)
    try:
        return inspect_photo(path, item).photo
    except PhotoError as error:
        return Rejected(item.path, item.label, str(error))


def _phash(small: Image.Image) -> str:
    """ImageHash's pHash as it prints it; its slow shrinking and printing are spared."""
    bits = imagehash.phash(small).hash
    return np.packbits(bits).tobytes().hex()
