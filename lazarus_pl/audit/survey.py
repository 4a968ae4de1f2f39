"""One pass over all photos: each is decoded once, and measured while its pixels are there."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lazarus_pl.audit.measures import Measures
from lazarus_pl.data.decode import PhotoError
from lazarus_pl.data.listing import Listed
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.data.scan import inspect_photo, is_unchanged, relabelled
from lazarus_pl.data.table import read_table, write_table
from lazarus_pl.progress import Progress

_NAME = "survey.csv"
# handing photos from thread to thread one by one costs as much as measuring them
_CHUNK = 16
_AHEAD = 8
# from so many new photos on, processes are quicker than threads, their start included
_MANY = 2000
_COLUMNS = (*Photo.columns(), *Measures.columns())


class Surveyed(NamedTuple):
    """A photo and what was measured of it."""

    photo: Photo
    measures: Measures


@dataclass(frozen=True)
class Survey:
    """What a pass found.

    Attributes:
        seen: Usable photos in the order listed.
        rejected: The others with their reasons.
        opened: How many files this call opened; the others were known.
    """

    seen: tuple[Surveyed, ...]
    rejected: tuple[Rejected, ...]
    opened: int


def survey_photos(root: Path, listed: Sequence[Listed], folder: Path) -> Survey:
    """Measures all listed files on all cores.

    Results become lines of ``survey.csv`` sixteen by sixteen, so a killed survey continues where it
    was, and a second one opens only what changed. No pixels are kept.

    Args:
        root: What relative paths are relative to.
        listed: The files.
        folder: Where ``survey.csv`` is written.

    Raises:
        OSError: If the table cannot be written.
    """
    paths = {item.path for item in listed}
    known = {row.photo.path: row for row in _read(folder / _NAME) if row.photo.path in paths}
    # starts anew, without lines that a kill cut short
    write_table(folder / _NAME, _COLUMNS, (_row(row) for row in known.values()))
    tasks = [(item, known.get(item.path)) for item in listed]
    chunks = [tasks[start : start + _CHUNK] for start in range(0, len(tasks), _CHUNK)]
    seen: list[Surveyed] = []
    rejected: list[Rejected] = []
    opened = 0
    with (
        Progress("auditing", len(listed), "photos") as progress,
        (folder / _NAME).open("a", encoding="utf-8", errors="surrogateescape", newline="") as table,
        closing(
            ordered_map(
                partial(_look, root),
                chunks,
                ahead=_AHEAD,
                processes=len(listed) - len(known) >= _MANY,
            )
        ) as found,
    ):
        writer = csv.writer(table, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for results in found:
            new = [result for result, is_new in results if is_new]
            opened += len(new)
            seen += [result for result, _ in results if isinstance(result, Surveyed)]
            rejected += [result for result, _ in results if isinstance(result, Rejected)]
            writer.writerows(_row(result) for result in new if isinstance(result, Surveyed))
            table.flush()
            progress.advance(len(results))
    return Survey(tuple(seen), tuple(rejected), opened)


def known_photos(folder: Path) -> list[Photo]:
    """The usable photos of a survey that was made before.

    Args:
        folder: Where ``survey.csv`` lies.
    """
    return [row.photo for row in _read(folder / _NAME)]


def _look(
    root: Path, chunk: Sequence[tuple[Listed, Surveyed | None]]
) -> list[tuple[Surveyed | Rejected, bool]]:
    """What each file shows, and whether it had to be opened for it."""
    return [_look_at(root, item, old) for item, old in chunk]


def _look_at(root: Path, item: Listed, old: Surveyed | None) -> tuple[Surveyed | Rejected, bool]:
    if old is not None and is_unchanged(root / item.path, old.photo):
        return Surveyed(relabelled(old.photo, item), old.measures), False
    try:
        inspected = inspect_photo(root / item.path, item)
    except PhotoError as error:
        return Rejected(item.path, item.label, str(error)), True
    return Surveyed(inspected.photo, Measures.of(inspected)), True


def _row(surveyed: Surveyed) -> tuple[str | int | float, ...]:
    return (*surveyed.photo.to_row(), *surveyed.measures.to_row())


def _read(path: Path) -> Iterator[Surveyed]:
    if not path.is_file():
        return
    try:
        rows = read_table(path)
    # another program's table: everything is measured again
    except ValueError:
        return
    for row in rows:
        try:
            yield Surveyed(Photo.from_row(row), Measures.from_row(row))
        # a line that was cut short, or a table of another version: measured again
        except (KeyError, ValueError, TypeError):
            continue
