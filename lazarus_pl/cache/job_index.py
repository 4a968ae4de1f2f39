"""Which jobs are done and sound, without reading every file at every start."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lazarus_pl.cache.job_file import JobFile, rows_digest
from lazarus_pl.cache.job_plan import Row
from lazarus_pl.cache.npz_member import NpzMember
from lazarus_pl.data.atomic import replace_file

_NAME = "jobs.json"


@dataclass(frozen=True)
class JobState:
    """What was seen when a job's file was last read as a whole.

    Attributes:
        size: File size in bytes.
        modified: File modification time in nanoseconds.
        rows: Digest of the rows that it holds.
        failed: Reasons of rows that could not be decoded.
        gone: Rows to be done again.
    """

    size: int
    modified: int
    rows: str
    failed: Mapping[int, str] = field(default_factory=dict)
    gone: tuple[int, ...] = ()


class JobIndex:
    """Remembers verified job files by size and modification time.

    It is a memo, not the truth: without it, or where a file differs from it, the file is read and
    its digest compared.

    Args:
        folder: The cache's folder.
        key: The cache's key.

    Attributes:
        key: The cache's key.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / _NAME
        self._jobs = folder / "jobs"
        self.key = key
        self._states = _read(self._path)

    def path(self, number: int) -> Path:
        """The file of a job."""
        return self._jobs / f"{number:05d}.npz"

    def state(self, number: int, rows: Sequence[Row]) -> JobState | None:
        """The state of a job, or None if it has not been done.

        Args:
            number: Of the job.
            rows: What the plan says it holds.

        Raises:
            NpzError: If its file is damaged.
            OSError: If its file cannot be read.
        """
        try:
            status = self.path(number).stat()
        except FileNotFoundError:
            return None
        known = self._states.get(number)
        seen = (status.st_size, status.st_mtime_ns, rows_digest(rows))
        if known and (known.size, known.modified, known.rows) == seen:
            return known
        job = JobFile.map(self.path(number), self.key, rows, verify=True)
        state = JobState(*seen, dict(job.failed), job.gone)
        self._states[number] = state
        return state

    def locate(self, number: int, rows: Sequence[Row]) -> dict[str, NpzMember]:
        """Where a job's features lie in its file.

        Args:
            number: Of the job.
            rows: What the plan says it holds.

        Raises:
            NpzError: If its file is damaged.
            OSError: If its file cannot be read.
        """
        return JobFile.locate(self.path(number), self.key, rows)

    def remember(self, number: int, job: JobFile) -> None:
        """Takes a file just written as verified."""
        status = self.path(number).stat()
        self._states[number] = JobState(
            status.st_size, status.st_mtime_ns, job.rows, dict(job.failed), job.gone
        )

    def forget(self) -> None:
        """Reads every file again at the next look."""
        self._states.clear()

    def write(self) -> None:
        """Writes the memo, with what other processes wrote to it meanwhile."""
        self._states = {**_read(self._path), **self._states}
        content = {str(number): asdict(state) for number, state in sorted(self._states.items())}
        with replace_file(self._path) as file:
            file.write(json.dumps(content).encode())


def _read(path: Path) -> dict[int, JobState]:
    try:
        content = json.loads(path.read_bytes())
        return {
            int(number): JobState(
                state["size"],
                state["modified"],
                state["rows"],
                {int(row): str(reason) for row, reason in state["failed"].items()},
                tuple(state["gone"]),
            )
            for number, state in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
