"""Which processes are at work on a cache."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_WORKERS = "worker-*.lock"


class ActiveWorkers:
    """This process among those at work on a cache.

    Each of them holds a lock of its own, which the system releases however the process ends. To be
    asked and to begin with the folder's lock held, so that no two look at each other.

    Args:
        locks: Folder for lock files.
    """

    def __init__(self, locks: Path) -> None:
        self._locks = locks
        self._mine: FileLock | None = None

    def anyone(self) -> bool:
        """Whether there is any, this one included; what killed ones left is taken away."""
        # all of them, not only up to the first
        held = [_is_held(path) for path in list(self._locks.glob(_WORKERS))]
        return self._mine is not None or any(held)

    def begin(self) -> None:
        """Counts this process in."""
        if self._mine is not None:
            return
        self._locks.mkdir(parents=True, exist_ok=True)
        path = self._locks / _WORKERS.replace("*", uuid.uuid4().hex)
        self._mine = FileLock(path, thread_local=False)
        self._mine.acquire()

    def end(self) -> None:
        """Counts it out."""
        if self._mine is None:
            return
        self._mine.release()
        _delete(Path(self._mine.lock_file))
        self._mine = None


def _is_held(path: Path) -> bool:
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    _delete(path)
    return False


def _delete(path: Path) -> None:
    # where another process looks at it just now, Windows refuses: the next look deletes it
    with suppress(OSError):
        path.unlink()
