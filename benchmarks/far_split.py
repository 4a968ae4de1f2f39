"""A split whose training photos lie further away from those of test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.table import write_table

_TRAIN, _VAL = 0.40, 0.55


def far_table(data: Path, cache: Path, table: Path) -> Path:
    """The photos of the far split with their sides, as a table to extract from."""
    photos = Manifest.read(cache).photos
    rows = [
        (str((data / photo.path).resolve()), photo.label, side)
        for photo, side in zip(photos, _far_sides(photos), strict=True)
        if side
    ]
    write_table(table, ("path", "label", "split"), rows)
    return table


def _far_sides(photos: Sequence[Photo]) -> list[str]:
    """Sides by place in the range, none for what is left out; no leaf is on two sides.

    Train and val come out of train, test is test: what lies between them was a gap before.
    """
    places = places_of([(photo.path, photo.label) for photo in photos])
    in_train = {
        photo.group
        for photo, place in zip(photos, places, strict=True)
        if photo.split == "train" and place < _TRAIN
    }
    sides = []
    for photo, place in zip(photos, places, strict=True):
        if photo.split == "test":
            sides.append("test")
        elif photo.split != "train" or place >= _VAL:
            sides.append("")
        elif place < _TRAIN:
            sides.append("train")
        else:
            sides.append("" if photo.group in in_train else "val")
    return sides


def places_of(photos: Sequence[tuple[str, str]]) -> list[float]:
    """Where each photo lies in its range of camera numbers, 0 to 1; of paths and labels."""
    numbers: dict[tuple[str, str], set[float]] = defaultdict(set)
    found = []
    for path, label in photos:
        name = LeafName.of(path)
        source = (label, name.source if name else "")
        number = name.number if name else 0.0
        found.append((source, number))
        numbers[source].add(number)
    ranks = {
        source: {n: rank / len(known) for rank, n in enumerate(sorted(known))}
        for source, known in numbers.items()
    }
    return [ranks[source][number] for source, number in found]
