"""Which of two processes trains a part of a grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lazarus_pl.grid.grid_spec import GridRun


class PartClaims:
    """Lets the two processes of one grid take its parts in turn.

    A claim is the system's: it is free again when its process ends, however it ends. Both
    processes must cut the grid into the same parts; other callers are kept away by
    :class:`~lazarus_pl.data.folder_lock.FolderLock`.

    Args:
        out: The grid's folder.
    """

    def __init__(self, out: Path) -> None:
        self._folder = out / "locks"
        self._folder.mkdir(parents=True, exist_ok=True)

    def free(self, parts: Iterable[Sequence[GridRun]]) -> Iterator[Sequence[GridRun]]:
        """Those that nobody else is at work on; each is claimed until the next is asked for."""
        for part in parts:
            with self._claimed(part) as is_ours:
                if is_ours:
                    yield part

    @contextmanager
    def _claimed(self, part: Sequence[GridRun]) -> Iterator[bool]:
        lock = FileLock(self._folder / f"{part[0].name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
