"""All photos of a manifest, each built when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import eq
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.photo import Photo
from lazarus_pl.data.text_table import TextTable

_NUMBERS = ("bytes", "width", "height", "modified")


class Photos(Sequence[Photo]):
    """Behaves as a tuple of photos and takes the memory of their table.

    Args:
        table: With the columns of :meth:`Photo.columns`.
    """

    def __init__(self, table: TextTable) -> None:
        self._table = table

    @classmethod
    def read(cls, path: Path) -> Photos:
        """Reads a manifest's table.

        Raises:
            ValueError: If it is no CSV, a column is missing, or a number is not one.
            OSError: If it cannot be read.
        """
        table = TextTable.read(path)
        # of a table without rows too: an empty file is no dataset of no photos
        for name in Photo.columns():
            if name not in table.columns:
                raise ValueError(f"the column '{name}' is missing")
            if name in _NUMBERS:
                table.integers(name)
        return cls(table)

    def take(self, places: slice | npt.NDArray[np.integer]) -> Photos:
        """Some of the photos."""
        return Photos(self._table.take(places))

    def column(self, name: str) -> Iterator[str]:
        """One text of every photo, such as its ``path``."""
        return self._table.column(name)

    def __len__(self) -> int:
        """Number of photos."""
        return len(self._table)

    @overload
    def __getitem__(self, place: int) -> Photo: ...

    @overload
    def __getitem__(self, place: slice) -> Photos: ...

    def __getitem__(self, place: int | slice) -> Photo | Photos:
        """A photo, or some of them."""
        if isinstance(place, slice):
            return self.take(place)
        return Photo.from_row(self._table.row(place))

    def __iter__(self) -> Iterator[Photo]:
        """The photos, one after the other."""
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether another sequence holds the same photos."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))
