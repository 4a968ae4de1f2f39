"""A disk that takes no more, or nothing at all."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest


class Disk:
    """Writes below a folder fail once there is no room, or at once if it is read-only.

    Attributes:
        written: Bytes so far.
    """

    def __init__(self, folder: Path, room: float = float("inf"), read_only: bool = False) -> None:
        self.folder = folder.resolve()
        self.room = room
        self.read_only = read_only
        self.written = 0

    def holds(self, file: object) -> bool:
        if not isinstance(file, (str, os.PathLike)):
            return False
        return Path(os.path.abspath(os.fspath(file))).is_relative_to(self.folder)  # noqa: PTH100

    def refuse(self, file: object) -> None:
        if self.read_only and self.holds(file):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))

    def take(self, count: int) -> None:
        self.written += count
        if self.written > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _File:
    """A file whose bytes the disk counts."""

    def __init__(self, file: IO[Any], disk: Disk) -> None:
        self._file = file
        self._disk = disk

    def write(self, data: str | bytes) -> int:
        self._disk.take(len(data) if isinstance(data, str) else memoryview(data).nbytes)
        count: int = self._file.write(data)
        return count

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)


@contextmanager
def on(disk: Disk) -> Iterator[Disk]:
    """All that Python writes below the disk's folder goes to this disk."""
    opens, low, mkdir, replace = builtins.open, os.open, os.mkdir, os.replace

    def opened(file: object, mode: str = "r", *args: object, **options: object) -> object:
        if not set(mode) & set("wax+") or not disk.holds(file):
            return opens(file, mode, *args, **options)
        disk.refuse(file)
        return _File(opens(file, mode, *args, **options), disk)

    def opened_low(path: object, flags: int, *args: object, **options: object) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            disk.refuse(path)
        return low(path, flags, *args, **options)

    def made(path: str, *args: object, **options: object) -> None:
        if not Path(path).exists():
            disk.refuse(path)
        mkdir(path, *args, **options)

    def replaced(source: str, target: str, *args: object, **options: object) -> None:
        disk.refuse(target)
        replace(source, target, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", opened)
        patch.setattr(io, "open", opened)
        patch.setattr(os, "open", opened_low)
        patch.setattr(os, "mkdir", made)
        patch.setattr(os, "replace", replaced)
        # what is synchronised has been counted when it was written
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield disk
