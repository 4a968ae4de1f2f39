"""One folder of micro-jobs: what is planned, what is done, what is left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from lazarus_pl.cache.aligned_npz import NpzError
from lazarus_pl.cache.cache_header import JOB_SIZE
from lazarus_pl.cache.job_index import JobIndex, JobState
from lazarus_pl.cache.job_plan import JobPlan, Row
from lazarus_pl.data.atomic import sweep_temporary

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 0.5


class JobFolder:
    """A plan in ``jobs.csv``, its files in ``jobs`` and its locks in ``locks``.

    Args:
        folder: Made if it is not there.
        key: Digest of all that determines the numbers.

    Attributes:
        index: Where the job files are, and their states.
        plan: The rows of every job, as last read or extended.
        locks: Folder for lock files.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / "jobs.csv"
        self.locks = folder / "locks"
        for path in (folder / "jobs", self.locks):
            path.mkdir(parents=True, exist_ok=True)
        for path in (folder, folder / "jobs"):
            sweep_temporary(path)
        self.index = JobIndex(folder, key)
        self.plan = JobPlan()

    @staticmethod
    def lock_of(folder: Path) -> FileLock:
        """Held while the plan of a folder is read and extended."""
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        return FileLock(folder / "locks" / "plan.lock")

    def extend(self, wanted: Iterable[Row], size_of: Callable[[Row], int] = lambda _: 1) -> int:
        """Reads the plan and plans those rows that are not in it, or whose file had vanished.

        To be called with the folder's lock held.

        Args:
            wanted: Rows that there shall be.
            size_of: How much a row is, where a job is 64.

        Returns:
            How many rows are new.
        """
        plan = JobPlan.read(self._path)
        planned: set[Row] = set()
        for number, job in enumerate(plan.jobs):
            state = self._look(number, job)
            gone = state.gone if state else ()
            planned.update(row for place, row in enumerate(job) if place not in gone)
        missing = [row for row in dict.fromkeys(wanted) if row not in planned]
        if missing:
            plan = plan.extended(missing, JOB_SIZE, size_of)
            plan.write(self._path)
        self.plan = plan
        return len(missing)

    def pending(self, wanted: Callable[[Row], bool] = lambda _: True) -> list[int]:
        """Jobs that are not done and hold a wanted row."""
        return [
            number
            for number, job in enumerate(self.plan.jobs)
            if self._look(number, job) is None and any(map(wanted, job))
        ]

    def work(self, pending: Callable[[], list[int]], run: Callable[[Sequence[int]], int]) -> int:
        """Runs pending jobs until there are none, waiting for those that others are at work on.

        Args:
            pending: Gives the jobs that are left.
            run: Does those of them that are free, and returns the number of its rows.

        Returns:
            The number of rows that were done here.
        """
        total = 0
        try:
            while left := pending():
                done = run(left)
                total += done
                if not done:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            self.index.write()
        return total

    def has_gone(self, wanted: Callable[[Row], bool]) -> bool:
        """Whether a wanted row is to be done again, since its photo could not be read then.

        Such a row is planned again by :meth:`extend`, and counts until that one is done.
        """
        done: set[Row] = set()
        gone: set[Row] = set()
        for rows, state in self._looked_at():
            for place, row in enumerate(rows):
                (gone if place in state.gone else done).add(row)
        return any(map(wanted, gone - done))

    def outcome(self) -> tuple[set[str], dict[str, str]]:
        """Which photos have features, and why others could not be decoded, by their SHA-256."""
        done: set[str] = set()
        reasons: dict[str, str] = {}
        passing: dict[str, str] = {}
        for rows, state in self._looked_at():
            for place, row in enumerate(rows):
                if place in state.failed:
                    told = passing if place in state.gone else reasons
                    told[row.sha256] = state.failed[place]
                elif place not in state.gone:
                    done.add(row.sha256)
        done -= reasons.keys()
        later = {sha256: reason for sha256, reason in passing.items() if sha256 not in done}
        return done, {**later, **reasons}

    def _looked_at(self) -> Iterator[tuple[Sequence[Row], JobState]]:
        """The rows and the state of each job that is done."""
        for number, job in enumerate(self.plan.jobs):
            if state := self._look(number, job):
                yield job, state

    def _look(self, number: int, rows: Sequence[Row]) -> JobState | None:
        """The state of a job; a damaged file is taken away, so that its job is done again."""
        try:
            return self.index.state(number, rows)
        except NpzError as error:
            _LOG.warning("job %d is damaged (%s): it is extracted again", number, error)
            self.index.path(number).unlink(missing_ok=True)
            return None
