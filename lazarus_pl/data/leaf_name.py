"""What a photo's file name tells of the leaf: who photographed it, and in which order."""

from __future__ import annotations

import re
from dataclasses import dataclass

_COPY = re.compile(r"[\s_-]*\(?copy\)?[\s_]*(?:\(?\d+\)?)?$", re.IGNORECASE)
_DAY = re.compile(r"[\s_-]+day[\s_-]*\d+$", re.IGNORECASE)
_EXPORT = re.compile(r"_(?:jpe?g|png)\.rf\.[0-9a-z]+$", re.IGNORECASE)
_HASH = re.compile(r"[\s_-](?=[0-9a-f]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,}$", re.IGNORECASE)
_IDENTIFIER = re.compile(r"^(?=.*[a-f])[0-9a-f]{4,}(?:-?[0-9a-f]{4,})+$", re.IGNORECASE)
_TIME = re.compile(r"^(?P<source>.*?)[\s_-]*(?P<day>(?:19|20)\d{6})[\s_-]?(?P<time>\d{6,9})$")
_NUMBER = re.compile(r"^(?P<source>.*?)[\s_(-]*(?P<number>\d{1,13}(?:\.\d+)?)\)?$")

# in YYYYMMDDHHMMSS; running numbers are shorter
_EARLIEST_TIME = 1900_00_00_00_00_00


@dataclass(frozen=True, slots=True)
class LeafName:
    """A photo's place in its photographer's sequence.

    Attributes:
        source: What precedes the number: the photographer, the class, the camera.
        number: The camera's (or the leaf's) running number; a fraction counts photos of one leaf.
    """

    source: str
    number: float

    @classmethod
    def parse(cls, stem: str) -> LeafName | None:
        """Reads a file name without its suffix.

        PlantVillage calls its photos ``<uuid>___<source> <number>[ copy N]``; cameras and phones
        call theirs ``IMG_0303``, ``DSC00012``, ``image (12)`` or ``IMG_20210503_121530``. Copies
        and ``Day N`` of a number are that number: the same leaf.

        Returns:
            The place in the sequence, or None if the name carries no running number.
        """
        name = stem.rsplit("___", maxsplit=1)[-1].strip()
        for suffix in (_EXPORT, _HASH, _COPY, _DAY):
            name = suffix.sub("", name)
        if not name or _IDENTIFIER.match(name):
            return None
        if match := _TIME.match(name):
            return cls(match["source"], float(match["day"] + match["time"][:6]))
        if match := _NUMBER.match(name):
            return cls(match["source"], float(match["number"]))
        return None

    @classmethod
    def of(cls, path: str) -> LeafName | None:
        """:meth:`parse` of the file name of a photo's path in the manifest."""
        return cls.parse(path.rsplit("/", 1)[-1].rsplit(".", 1)[0])

    @property
    def is_time(self) -> bool:
        """Whether the number is a date and a time, ``YYYYMMDDHHMMSS``."""
        return self.number >= _EARLIEST_TIME

    @property
    def numbers_leaves(self) -> bool:
        """Whether the number counts leaves (``Leaf 166.1``), not the camera's releases."""
        return self.source.lower().rstrip(" _-").endswith("leaf")
