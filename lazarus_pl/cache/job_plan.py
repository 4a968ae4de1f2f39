"""Which photo is in which micro-job: fixed once written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import eq
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.table import write_table
from lazarus_pl.data.text_table import TextTable
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
        jobs: Rows by job number; of a plan that was read, those of a job are built when they are
            asked for.
    """

    jobs: Sequence[tuple[Row, ...]] = ()

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
        rows = ((number, *row) for number, job in enumerate(self.jobs) for row in job)
        write_table(path, _COLUMNS, rows)

    @classmethod
    def read(cls, path: Path) -> JobPlan:
        """Reads what :meth:`write` wrote; without a file the plan is empty.

        Raises:
            LazarusError: If the file is not a plan.
        """
        if not path.exists():
            return cls()
        try:
            table = TextTable.read(path)
            if table.columns != _COLUMNS:
                raise ValueError(f"its columns are {', '.join(table.columns)}")
            return cls(_PlannedJobs(table))
        except ValueError as error:
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


class _PlannedJobs(Sequence[tuple[Row, ...]]):
    """The jobs of a table."""

    def __init__(self, table: TextTable) -> None:
        self._table = table
        self._views = table.integers("view")
        self._bounds = _bounds(table.integers("job"))

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, place: int) -> tuple[Row, ...]: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[tuple[Row, ...], ...]: ...

    def __getitem__(self, place: int | slice) -> tuple[Row, ...] | tuple[tuple[Row, ...], ...]:
        if isinstance(place, slice):
            return tuple(map(self.__getitem__, range(len(self))[place]))
        number = range(len(self))[place]
        rows = slice(self._bounds[number], self._bounds[number + 1])
        digests = self._table.take(rows).column("sha256")
        return tuple(map(Row, digests, self._views[rows].tolist()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))


def _bounds(numbers: npt.NDArray[np.int64]) -> list[int]:
    """Where each job's rows start, and where the last one's end."""
    starts = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1])[: len(numbers)])
    wrong = np.flatnonzero(numbers[starts] != np.arange(len(starts)))
    if len(wrong):
        raise ValueError(f"job {wrong[0]} is missing")
    return [*starts.tolist(), len(numbers)]
