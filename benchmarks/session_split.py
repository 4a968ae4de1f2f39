"""A split whose test photos were taken in sessions that training has not seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.place import Place
from lazarus_pl.data.shooting_sessions import shooting_sessions
from lazarus_pl.data.table import write_table

FOLDS = 2
_LEAST_PHOTOS = 40
_TRAIN = 0.80


def session_table(data: Path, cache: Path, fold: int, table: Path) -> Path:
    """The photos with their sides, as a table to extract from.

    A session is one photographer's stretch of camera numbers of one class; a gap of more than 30
    ends it. Where a class has several with 40 photos or more, one of them is test, by the fold.
    Of all others the last fifth is val. Photos without a number are train.

    Args:
        data: Folder that the cache's paths begin at.
        cache: Whose photos.
        fold: Which session of each class is test, 0 or 1.
        table: File to write.
    """
    photos = Manifest.read(cache).photos
    sides = _sides(photos, fold)
    rows = [(str((data / photos[n].path).resolve()), photos[n].label, sides[n]) for n in sides]
    write_table(table, ("path", "label", "split"), rows)
    return table


def _sides(photos: Sequence[Photo], fold: int) -> dict[int, str]:
    sessions = shooting_sessions([Place.of(photo) for photo in photos])
    large = defaultdict(list)
    for session in sessions:
        if len(session) >= _LEAST_PHOTOS:
            large[photos[session[0]].label].append(session)
    held = [found[fold] for found in large.values() if len(found) > 1]
    sides = dict.fromkeys(range(len(photos)), "train")
    for session in sessions:
        learnt = {photos[index].group for index in session[: round(_TRAIN * len(session))]}
        for index in session:
            side = "train" if photos[index].group in learnt else "val"
            sides[index] = "test" if session in held else side
    return sides
