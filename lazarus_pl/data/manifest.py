"""The table of every photo of a dataset: the one place that knows classes, groups and sides."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lazarus_pl.data.photo import Photo
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.data.table import read_table, write_table
from lazarus_pl.errors import LazarusError

_PHOTOS = "manifest.csv"
_QUARANTINE = "quarantine.csv"


@dataclass(frozen=True)
class Manifest:
    """All photos of a dataset with their sides, and the quarantine.

    Attributes:
        photos: Usable photos, ordered by path.
        quarantine: Unusable ones with their reasons, ordered by path.
    """

    photos: tuple[Photo, ...]
    quarantine: tuple[Rejected, ...] = ()

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, sorted; a label's index is its place here."""
        return tuple(sorted({photo.label for photo in self.photos}))

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def side(self, split: str) -> tuple[Photo, ...]:
        """The photos of ``train``, ``val``, ``test`` or ``unused``."""
        return tuple(photo for photo in self.photos if photo.split == split)

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
        try:
            photos = tuple(Photo.from_row(row) for row in read_table(folder / _PHOTOS))
            rejected = tuple(
                Rejected(row["path"], row["label"], row["reason"])
                for row in read_table(folder / _QUARANTINE)
            )
        except FileNotFoundError as error:
            raise LazarusError(
                f"'{folder}' has no {Path(error.filename).name}: it is no feature cache, or "
                "its extraction never started; run lazarus extract"
            ) from error
        except (KeyError, ValueError, TypeError) as error:
            raise LazarusError(
                f"'{folder / _PHOTOS}' is damaged ({error}): delete it and run lazarus extract "
                "again; no features are lost"
            ) from error
        return cls(photos, rejected)
