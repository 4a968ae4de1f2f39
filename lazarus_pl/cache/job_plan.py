"""Which photo is in which micro-job: fixed once written."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.errors import LazarusError

_COLUMNS = ("job", "sha256", "view")


class Row(NamedTuple):
    """What one row of features is of.

    Attributes:
        sha256: Digest of the photo's bytes; copies of a photo share their features.
        view: 0 is the plain photo; augmented views count from 1.
    """

    sha256: str
    view: int = 0


@dataclass(frozen=True)
class JobPlan:
    """The rows of each job.

    Photos that come later get jobs of their own, so a job once done stays as it is.

    Attributes:
        jobs: Rows by job number.
    """

    jobs: tuple[tuple[Row, ...], ...] = ()

    def extended(
        self, rows: Iterable[Row], job_size: int, size_of: Callable[[Row], int] = lambda _: 1
    ) -> JobPlan:
        """This plan and, behind it, new jobs for the rows.

        Args:
            rows: What is to be done.
            job_size: How much of it makes a job.
            size_of: How much a row is; one that is more than a job has a job of its own.
        """
        return JobPlan((*self.jobs, *_chunks(rows, job_size, size_of)))

    def write(self, path: Path) -> None:
        """Writes the plan as CSV in one atomic step."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for number, job in enumerate(self.jobs):
            writer.writerows((number, *row) for row in job)
        with replace_file(path) as file:
            file.write(text.getvalue().encode())

    @classmethod
    def read(cls, path: Path) -> JobPlan:
        """Reads what :meth:`write` wrote; without a file the plan is empty.

        Raises:
            LazarusError: If the file is not a plan.
        """
        if not path.exists():
            return cls()
        try:
            with path.open(encoding="utf-8", newline="") as file:
                header, *lines = csv.reader(file)
            if tuple(header) != _COLUMNS:
                raise ValueError(f"its columns are {', '.join(header)}")
            return cls(tuple(_jobs(lines)))
        except (ValueError, IndexError, csv.Error) as error:
            raise LazarusError(
                f"'{path}' is damaged ({error}): restore it from a copy, or extract into another "
                "folder"
            ) from error


def _chunks(
    rows: Iterable[Row], job_size: int, size_of: Callable[[Row], int]
) -> Iterator[tuple[Row, ...]]:
    chunk: list[Row] = []
    room = job_size
    for row in rows:
        size = size_of(row)
        if chunk and size > room:
            yield tuple(chunk)
            chunk, room = [], job_size
        chunk.append(row)
        room -= size
    if chunk:
        yield tuple(chunk)


def _jobs(lines: Sequence[Sequence[str]]) -> Iterable[tuple[Row, ...]]:
    for expected, (number, group) in enumerate(groupby(lines, key=lambda line: int(line[0]))):
        if number != expected:
            raise ValueError(f"job {expected} is missing")
        yield tuple(Row(line[1], int(line[2])) for line in group)
