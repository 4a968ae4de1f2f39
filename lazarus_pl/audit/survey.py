"""One pass over all photos: each is decoded once, and measured while its pixels are there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from lazarus_pl.audit.measures import Measures
from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.decode import PhotoError
from lazarus_pl.data.listing import Listed
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.data.scan import inspect_photo, is_unchanged, relabelled
from lazarus_pl.progress import Progress

_NAME = "survey.csv"
# handing photos from thread to thread one by one costs as much as measuring them
_CHUNK = 16
_AHEAD = 8
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

    Every result is a line of ``survey.csv`` as soon as it is there, so a killed survey continues
    where it was, and a second one opens only what changed. No pixels are kept.

    Args:
        root: What relative paths are relative to.
        listed: The files.
        folder: Where ``survey.csv`` is written.

    Raises:
        OSError: If the table cannot be written.
    """
    paths = {item.path for item in listed}
    known = {row.photo.path: row for row in _read(folder / _NAME) if row.photo.path in paths}
    _write(folder / _NAME, known.values())
    seen: list[Surveyed] = []
    rejected: list[Rejected] = []
    opened = 0

    def look(item: Listed) -> tuple[Surveyed | Rejected, bool]:
        old = known.get(item.path)
        if old is not None and is_unchanged(root / item.path, old.photo):
            return Surveyed(relabelled(old.photo, item), old.measures), False
        try:
            inspected = inspect_photo(root / item.path, item)
        except PhotoError as error:
            return Rejected(item.path, item.label, str(error)), True
        return Surveyed(inspected.photo, Measures.of(inspected)), True

    with (
        Progress("auditing", len(listed), "photos") as progress,
        (folder / _NAME).open(
            "a", encoding="utf-8", errors="surrogateescape", newline="", buffering=1
        ) as table,
    ):
        writer = csv.writer(table, lineterminator="\n")
        chunks = [listed[start : start + _CHUNK] for start in range(0, len(listed), _CHUNK)]
        found = ordered_map(lambda chunk: [look(item) for item in chunk], chunks, ahead=_AHEAD)
        for result, is_new in chain.from_iterable(found):
            opened += is_new
            if isinstance(result, Rejected):
                rejected.append(result)
            else:
                seen.append(result)
                if is_new:
                    writer.writerow(_row(result))
            progress.advance()
    return Survey(tuple(seen), tuple(rejected), opened)


def _row(surveyed: Surveyed) -> tuple[str | int | float, ...]:
    return (*surveyed.photo.to_row(), *surveyed.measures.to_row())


def _write(path: Path, rows: Iterable[Surveyed]) -> None:
    """Starts the table anew: without lines that a kill cut short, or of files that are gone."""
    with replace_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(_row(row) for row in rows)
        text.flush()
        text.detach()


def _read(path: Path) -> Iterator[Surveyed]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        for row in csv.DictReader(file):
            try:
                yield Surveyed(Photo.from_row(row), Measures.from_row(row))
            # a line that was cut short, or a table of another version: measured again
            except (KeyError, ValueError, TypeError):
                continue
