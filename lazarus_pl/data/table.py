"""CSV tables of files, whatever their names are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from lazarus_pl.data.atomic import replace_file

Cell = str | int | float


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Writes a table in one atomic step.

    File names need not be text: ``surrogateescape`` keeps their bytes.

    Raises:
        OSError: If the disk is full or the folder cannot be written to.
    """
    with replace_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(text, lineterminator="\n")
        careful = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for row in rows:
            # a carriage return ends a line too, but is not quoted as a line feed is
            odd = any(isinstance(cell, str) and "\r" in cell for cell in row)
            (careful if odd else writer).writerow(row)
        text.flush()
        text.detach()


def read_table(path: Path) -> list[dict[str, str]]:
    """Reads what :func:`write_table` wrote.

    Raises:
        ValueError: If it is no CSV.
        OSError: If it cannot be read.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        try:
            return list(csv.DictReader(file))
        except csv.Error as error:
            raise ValueError(str(error)) from error
