"""The table of every photo of a dataset: the one place that knows classes, groups and sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.photo import Photo
from lazarus_pl.data.photos import Photos
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.data.table import read_table, write_table
from lazarus_pl.errors import LazarusError

_PHOTOS = "manifest.csv"
_QUARANTINE = "quarantine.csv"

_Numbered = tuple[tuple[str, ...], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Manifest:
    """All photos of a dataset with their sides, and the quarantine.

    Attributes:
        photos: Usable photos, ordered by path; of a manifest that was read, each is built when it
            is asked for.
        quarantine: Unusable ones with their reasons, ordered by path.
    """

    photos: Sequence[Photo]
    quarantine: tuple[Rejected, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, sorted; a label's index is its place here."""
        return self._labels[0]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Class index of every photo."""
        return self._labels[1]

    def column(self, name: str) -> Iterator[str]:
        """One text of every photo, such as its ``path``, without building the photos."""
        if isinstance(self.photos, Photos):
            return self.photos.column(name)
        return (str(getattr(photo, name)) for photo in self.photos)

    def indices(self, split: str) -> npt.NDArray[np.intp]:
        """Places of the photos of ``train``, ``val``, ``test`` or ``unused``."""
        names, sides = self._sides
        if split not in names:
            return np.zeros(0, dtype=np.intp)
        return np.flatnonzero(sides == names.index(split))

    def side(self, split: str) -> Sequence[Photo]:
        """The photos of ``train``, ``val``, ``test`` or ``unused``."""
        return self.take(self.indices(split)).photos

    def take(self, places: npt.NDArray[np.integer]) -> Manifest:
        """Some of the photos, and the whole quarantine."""
        if isinstance(self.photos, Photos):
            return replace(self, photos=self.photos.take(places))
        return replace(self, photos=tuple(self.photos[place] for place in places.tolist()))

    def conflicts(self) -> list[tuple[Photo, ...]]:
        """Photos with the same bytes under more than one label."""
        copies: dict[str, list[Photo]] = defaultdict(list)
        for photo in self.photos:
            copies[photo.sha256].append(photo)
        return [tuple(same) for same in copies.values() if len({p.label for p in same}) > 1]

    def write(self, folder: Path) -> None:
        """Writes ``manifest.csv`` and ``quarantine.csv``, each in one atomic step."""
        rows = (photo.to_row() for photo in self.photos)
        write_table(folder / _PHOTOS, Photo.columns(), rows)
        self.write_quarantine(folder)

    def write_quarantine(self, folder: Path) -> None:
        """Writes ``quarantine.csv`` alone."""
        rejected = ((r.path, r.label, r.reason) for r in self.quarantine)
        write_table(folder / _QUARANTINE, ("path", "label", "reason"), rejected)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Reads what :meth:`write` wrote.

        Raises:
            LazarusError: If the files are missing or not ours.
        """
        photos, path = cls.read_photos(folder), folder / _QUARANTINE
        again = "run lazarus extract again, which finds anew what cannot be used"
        try:
            rejected = tuple(
                Rejected(row["path"], row["label"], row["reason"]) for row in read_table(path)
            )
        except FileNotFoundError as error:
            raise LazarusError(f"'{folder}' has lost its {_QUARANTINE}: {again}") from error
        except (KeyError, ValueError, TypeError) as error:
            raise LazarusError(f"'{path}' is damaged ({error}): delete it and {again}") from error
        return cls(photos, rejected)

    @staticmethod
    def read_photos(folder: Path) -> Photos:
        """Reads ``manifest.csv`` alone.

        Raises:
            LazarusError: If it is missing or not ours.
        """
        try:
            return Photos.read(folder / _PHOTOS)
        except FileNotFoundError as error:
            raise LazarusError(
                f"'{folder}' has no {_PHOTOS}: it is no feature cache, or its extraction never "
                "started; run lazarus extract"
            ) from error
        except (KeyError, ValueError, TypeError) as error:
            raise LazarusError(
                f"'{folder / _PHOTOS}' is damaged ({error}): restore it from a copy, or delete it "
                "and run lazarus extract again; no features are lost, but the sides are dealt anew"
            ) from error

    @cached_property
    def _labels(self) -> _Numbered:
        return _numbered(self.column("label"), len(self.photos))

    @cached_property
    def _sides(self) -> _Numbered:
        return _numbered(self.column("split"), len(self.photos))


def _numbered(texts: Iterable[str], count: int) -> _Numbered:
    """The different texts, sorted, and the place of each text among them."""
    found: dict[str, int] = {}
    numbers = (found.setdefault(text, len(found)) for text in texts)
    as_found = np.fromiter(numbers, np.int64, count)
    names = sorted(found)
    places = np.zeros(len(found), dtype=np.int64)
    places[[found[name] for name in names]] = np.arange(len(names))
    return tuple(names), places[as_found]
