"""A few photos of the dataset, on which later steps are tried."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lazarus_pl.data.photo import Photo

_CLASSES = 24
_PHOTOS = 128


def sample_photos(photos: Sequence[Photo]) -> list[Photo]:
    """About 128 photos of train and val, evenly from up to 24 classes, a third of them from val."""
    by_label: dict[str, dict[str, list[Photo]]] = defaultdict(lambda: {"train": [], "val": []})
    for photo in photos:
        if photo.split in ("train", "val"):
            by_label[photo.label][photo.split].append(photo)
    labels = sorted(by_label)[:_CLASSES]
    per_class = max(3, _PHOTOS // max(len(labels), 1))
    chosen: list[Photo] = []
    for label in labels:
        chosen += _spread(by_label[label]["train"], per_class - per_class // 3)
        chosen += _spread(by_label[label]["val"], per_class // 3)
    return chosen


def write_table(photos: Sequence[Photo], root: Path, path: Path) -> None:
    """Writes photos as a table that an extraction with predefined sides takes."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        writer.writerows(
            (str((root / photo.path).resolve()), photo.label, photo.split) for photo in photos
        )


def _spread(photos: Sequence[Photo], count: int) -> list[Photo]:
    step = max(1, len(photos) // count)
    return list(photos[::step][:count])
