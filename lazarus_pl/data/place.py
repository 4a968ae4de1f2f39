"""Where a photo stands in the order in which photos were taken."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Literal, NamedTuple

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.photo import Photo


class Place(NamedTuple):
    """A photo's place among those of its class and photographer.

    Attributes:
        sequence: The class and the photographer, as far as the name tells who it was.
        number: The camera's running number, or the second in which the photo was taken.
        unit: What the number counts.
    """

    sequence: str
    number: float
    unit: Literal["photos", "seconds"]

    @classmethod
    def of(cls, photo: Photo, taken: str = "") -> Place | None:
        """The place that the file's name tells, else the time of its EXIF; None if neither does.

        Args:
            photo: Of the manifest.
            taken: EXIF time ``YYYY:MM:DD HH:MM:SS``, or nothing.
        """
        name = LeafName.of(photo.path)
        if name is None:
            seconds = _seconds(taken[:19], "%Y:%m:%d %H:%M:%S")
            return None if seconds is None else cls(f"{photo.label}/taken", seconds, "seconds")
        sequence = f"{photo.label}/{name.source}"
        seconds = _seconds(f"{name.number:.0f}", "%Y%m%d%H%M%S") if name.is_time else None
        if seconds is None:
            return cls(sequence, name.number, "photos")
        return cls(sequence, seconds, "seconds")


def _seconds(text: str, pattern: str) -> float | None:
    try:
        moment = datetime.strptime(text, pattern)
    except ValueError:
        return None
    return moment.replace(tzinfo=timezone.utc).timestamp()
