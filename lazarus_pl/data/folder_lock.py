"""One process a folder at a time."""

from __future__ import annotations

import json
import os
import socket
from datetime import datetime
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.errors import LazarusError


class FolderLock:
    """Held while a verb of ``lazarus`` works in a folder.

    The lock is the system's: it is free again when the process ends, however it ends. Beside it
    stands who holds it.

    Args:
        out: The folder; made if it is not there.
        verb: What is at work, such as ``run``; locks of other verbs are other locks.

    Raises:
        LazarusError: On entering, if another process holds it.
    """

    def __init__(self, out: Path, verb: str) -> None:
        self._out = out
        self._verb = verb
        self._lock = FileLock(out / f"{verb}.lock")
        self._holder = out / f"{verb}.holder.json"

    def __enter__(self) -> FolderLock:
        """Takes the lock."""
        self._out.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LazarusError(
                f"'{self._out}' is in use by another lazarus {self._verb} ({self._who()}): wait "
                "for it, end it, or name another folder with --out"
            ) from error
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        with replace_file(self._holder) as file:
            file.write(json.dumps(holder).encode())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the lock back."""
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def _who(self) -> str:
        try:
            holder = json.loads(self._holder.read_bytes())
            return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        # it was taken this very moment
        except (OSError, ValueError, KeyError, TypeError):
            return "which has just begun"
