"""A split whose test photos were taken in sessions that training has not seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.table import write_table

FOLDS = 2
# between two numbers of one session
_GAP = 30
_LEAST_PHOTOS = 40
_TRAIN = 0.80

# class, photographer, stretch of camera numbers
Session = tuple[str, str, int]


def session_table(data: Path, cache: Path, fold: int, table: Path) -> Path:
    """The photos with their sides, as a table to extract from.

    A session is one photographer's stretch of camera numbers of one class; a gap of more than 30
    ends it. Where a class has several with 40 photos or more, one of them is test, by the fold.
    Of all others the last fifth is val.

    Args:
        data: Folder that the cache's paths begin at.
        cache: Whose photos.
        fold: Which session of each class is test, 0 or 1.
        table: File to write.
    """
    photos = Manifest.read(cache).photos
    sides = _sides(_sessions(photos), photos, fold)
    rows = [(str((data / photos[n].path).resolve()), photos[n].label, sides[n]) for n in sides]
    write_table(table, ("path", "label", "split"), rows)
    return table


def _sessions(photos: Sequence[Photo]) -> dict[Session, list[int]]:
    """Photos of each session in the order of their numbers."""
    places = defaultdict(list)
    for index, photo in enumerate(photos):
        name = LeafName.of(photo.path)
        source, number = (name.source, name.number) if name else ("", 0.0)
        places[photo.label, source].append((number, index))
    sessions: dict[Session, list[int]] = defaultdict(list)
    for (label, source), found in places.items():
        stretch, before = 0, float("inf")
        for number, index in sorted(found):
            stretch += number - before > _GAP
            sessions[label, source, stretch].append(index)
            before = number
    return sessions


def _sides(
    sessions: Mapping[Session, list[int]], photos: Sequence[Photo], fold: int
) -> dict[int, str]:
    large = defaultdict(list)
    for session, indices in sorted(sessions.items()):
        if len(indices) >= _LEAST_PHOTOS:
            large[session[0]].append(session)
    held = {found[fold] for found in large.values() if len(found) > 1}
    sides = {}
    for session, indices in sessions.items():
        learnt = {photos[index].group for index in indices[: round(_TRAIN * len(indices))]}
        for index in indices:
            side = "train" if photos[index].group in learnt else "val"
            sides[index] = "test" if session in held else side
    return sides
