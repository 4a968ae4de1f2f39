"""Where a photo stands in the order in which photos were taken."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Literal, NamedTuple

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.photo import Photo

# seconds since 1970, from 2001 to 2033: no camera has released so often
_EPOCH = (1e9, 2e9)


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
        if name is None or _time_in(name) is not None:
            return cls.in_time(photo, taken)
        return cls(f"{photo.label}/{name.source}", name.number, "photos")

    @classmethod
    def in_time(cls, photo: Photo, taken: str = "") -> Place | None:
        """The second in which a photo was taken, by its name or else its EXIF; None if unknown.

        Names tell it as ``20210503_121530``, or as seconds or milliseconds since 1970.

        Args:
            photo: Of the manifest.
            taken: EXIF time ``YYYY:MM:DD HH:MM:SS``, or nothing.
        """
        name = LeafName.of(photo.path)
        seconds = _time_in(name) if name else None
        if seconds is None:
            seconds = _seconds(taken[:19], "%Y:%m:%d %H:%M:%S")
        source = name.source if name else "taken"
        return None if seconds is None else cls(f"{photo.label}/{source}", seconds, "seconds")


def _time_in(name: LeafName) -> float | None:
    for unit in (1, 1000):
        if _EPOCH[0] <= name.number / unit < _EPOCH[1]:
            return name.number / unit
    return _seconds(f"{name.number:.0f}", "%Y%m%d%H%M%S") if name.is_time else None


def _seconds(text: str, pattern: str) -> float | None:
    try:
        moment = datetime.strptime(text, pattern)
    except ValueError:
        return None
    return moment.replace(tzinfo=timezone.utc).timestamp()
