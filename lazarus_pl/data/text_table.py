"""A CSV table of a million rows in the memory of its file."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import methodcaller
from pathlib import Path

import numpy as np
import numpy.typing as npt

_COMMA, _NEWLINE, _ZERO = b",\n0"
_ODD = (b'"', b"\r")
_BLOCK = 1 << 22
_CHUNK = 1 << 14
# an int64 has no more digits
_DIGITS = 19

Offsets = npt.NDArray[np.unsignedinteger]


class TextTable:
    """Rows of a CSV file that become text cell by cell, when they are asked for.

    Kept are the bytes of the file and where each cell ends in them: no object a row or a cell.

    Args:
        columns: Their names.
        content: All cells, one behind the other with a byte between them.
        starts: Where each row starts in the content, ``(rows,)``.
        ends: Where each cell ends, ``(rows, columns)``; the next one starts a byte later.

    Attributes:
        columns: Their names.
    """

    def __init__(
        self, columns: Sequence[str], content: bytes, starts: Offsets, ends: Offsets
    ) -> None:
        self.columns = tuple(columns)
        self._content = content
        self._starts = starts
        self._ends = ends

    @classmethod
    def read(cls, path: Path) -> TextTable:
        """Reads what :func:`~lazarus_pl.data.table.write_table` wrote.

        Raises:
            ValueError: If it is no CSV, two columns have one name, or a row has not as many cells
                as there are columns.
            OSError: If it cannot be read.
        """
        # some editors begin UTF-8 with this mark
        content, ends = _split(path.read_bytes().removeprefix(codecs.BOM_UTF8))
        starts = np.zeros(len(ends), dtype=ends.dtype)
        if not len(ends):
            return cls((), content, starts, ends)
        starts[1:] = ends[:-1, -1] + 1
        columns = _texts(content, starts[0], ends[0])
        for name in columns:
            if columns.count(name) > 1:
                raise ValueError(f"the column '{name}' is there twice")
        return cls(columns, content, starts[1:], ends[1:])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._starts)

    def take(self, places: slice | npt.NDArray[np.integer]) -> TextTable:
        """Some of the rows; even a few of them keep, and pickle, the content of the whole table."""
        return TextTable(self.columns, self._content, self._starts[places], self._ends[places])

    def row(self, place: int) -> dict[str, str]:
        """One row by the names of the columns."""
        texts = _texts(self._content, self._starts[place], self._ends[place])
        return dict(zip(self.columns, texts, strict=True))

    def column(self, name: str) -> Iterator[str]:
        """The cells of one column, one after the other.

        Raises:
            KeyError: If there is no such column.
        """
        return map(methodcaller("decode", "utf-8", "surrogateescape"), self._cells(name))

    def integers(self, name: str) -> npt.NDArray[np.int64]:
        """The cells of one column as numbers.

        Raises:
            KeyError: If there is no such column.
            ValueError: If a cell is no whole number, or none that int64 holds.
        """
        starts, ends = self._span(name)
        chunks = range(0, len(self), _CHUNK)
        parts = [
            _integers(self._content, starts[at : at + _CHUNK], ends[at : at + _CHUNK])
            for at in chunks
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])

    def _cells(self, name: str) -> Iterator[bytes]:
        starts, ends = self._span(name)

        def some(at: int) -> Iterator[bytes]:
            chunk = slice(at, at + _CHUNK)
            return map(
                self._content.__getitem__, map(slice, starts[chunk].tolist(), ends[chunk].tolist())
            )

        return chain.from_iterable(map(some, range(0, len(self), _CHUNK)))

    def _span(self, name: str) -> tuple[Offsets, Offsets]:
        if name not in self.columns:
            raise KeyError(name)
        place = self.columns.index(name)
        starts = self._ends[:, place - 1] + 1 if place else self._starts
        return starts, self._ends[:, place]


def _texts(content: bytes, start: np.unsignedinteger, ends: Offsets) -> list[str]:
    """The cells of one row."""
    texts = []
    place = int(start)
    for end in ends.tolist():
        texts.append(content[place:end].decode("utf-8", "surrogateescape"))
        place = end + 1
    return texts


def _split(content: bytes) -> tuple[bytes, Offsets]:
    """Cells, one behind the other with a byte between them, and where each ends."""
    parts: list[bytes | memoryview] = []
    # an end of the last line may be missing
    kind = np.uint32 if len(content) < np.iinfo(np.uint32).max else np.uint64
    ends: list[Offsets] = []
    size = rows = 0
    for start, end in _blocks(content):
        width = ends[0].shape[1] if ends else 0
        places = _plain_ends(content, start, end, width)
        part: bytes | memoryview = memoryview(content)[start:end]
        if places is None:
            part, places = _parsed(bytes(part), width, rows)
        parts.append(part)
        ends.append((places + size).astype(kind))
        size, rows = size + len(part), rows + len(places)
    if any(isinstance(part, bytes) for part in parts):
        content = b"".join(parts)
    return content, np.concatenate(ends) if ends else np.zeros((0, 0), dtype=kind)


def _blocks(content: bytes) -> Iterator[tuple[int, int]]:
    """Where parts of whole rows start and end."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start + _BLOCK) + 1 or len(content)
        quotes = content.count(b'"', start, end)
        # a line end between quotes ends no row
        while quotes % 2 and end < len(content):
            line, end = end, content.find(b"\n", end) + 1 or len(content)
            quotes += content.count(b'"', line, end)
        yield start, end
        start = end


def _plain_ends(
    content: bytes, start: int, end: int, width: int
) -> npt.NDArray[np.signedinteger] | None:
    """Where cells of a part end in it, ``(rows, width)``; a width of 0 is that of the first row.

    None if the csv module has to look: where there are quotes, other line ends than a line feed,
    or rows of different lengths.
    """
    if content[end - 1] != _NEWLINE or any(content.find(odd, start, end) >= 0 for odd in _ODD):
        return None
    width = width or content.count(b",", start, content.index(b"\n", start)) + 1
    data = np.frombuffer(content, np.uint8, end - start, start)
    ends = np.flatnonzero((data == _COMMA) | (data == _NEWLINE))
    # a line with nothing in it is no row
    if width == 1 or len(ends) % width:
        return None
    is_last = (data[ends] == _NEWLINE).reshape(-1, width)
    is_regular = is_last[:, -1].all() and not is_last[:, :-1].any()
    return ends.reshape(-1, width) if is_regular else None


def _parsed(block: bytes, width: int, first: int) -> tuple[bytes, npt.NDArray[np.signedinteger]]:
    """Cells of a part as the csv module reads them, one behind the other, and where they end."""
    text = io.TextIOWrapper(io.BytesIO(block), "utf-8", "surrogateescape", newline="")
    cells: list[bytes] = []
    try:
        for number, row in enumerate(filter(None, csv.reader(text)), start=first):
            width = width or len(row)
            if len(row) != width:
                raise ValueError(f"row {number} has {len(row)} cells, not {width}")
            cells += [cell.encode("utf-8", "surrogateescape") for cell in row]
    except csv.Error as error:
        raise ValueError(str(error)) from error
    ends = np.cumsum(np.fromiter(map(len, cells), np.int64, len(cells)) + 1) - 1
    return b",".join([*cells, b""]), ends.reshape(-1, width or 1)


def _integers(content: bytes, starts: Offsets, ends: Offsets) -> npt.NDArray[np.int64]:
    """Numbers of cells, digit by digit for all of them at once."""
    data = np.frombuffer(content, dtype=np.uint8)
    firsts = starts.astype(np.int64)
    lengths = ends.astype(np.int64) - firsts
    values = np.zeros(len(lengths), dtype=np.int64)
    plain = (lengths > 0) & (lengths <= _DIGITS)
    for place in range(min(_DIGITS, int(lengths.max(initial=0)))):
        inside = place < lengths
        digits = data[np.minimum(firsts + place, len(data) - 1)] - _ZERO
        plain &= ~inside | (digits <= 9)
        values = np.where(inside, 10 * values + digits, values)
    # a sign, or more than int64 holds
    for place in np.flatnonzero(~plain | (values < 0)).tolist():
        values[place] = _integer(content[int(starts[place]) : int(ends[place])])
    return values


def _integer(cell: bytes) -> int:
    text = cell.decode("utf-8", "surrogateescape")
    value = int(text)
    if abs(value) > np.iinfo(np.int64).max:
        raise ValueError(f"{text} is too large a number")
    return value
