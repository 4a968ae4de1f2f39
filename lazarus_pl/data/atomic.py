"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# of OSError: no room, no quota, or more than a file may hold
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# no room, no quota, or a file system that is read-only
NOTHING_CAN_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

_SUFFIX = ".tmp"
_NAME = re.compile(rf".+\.[0-9a-f]{{32}}{re.escape(_SUFFIX)}")
# no file here takes an hour to be written
_ABANDONED_SECONDS = 3600.0


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside ``path`` that takes its place when the block ends well.

    The bytes are on the disk (``fsync``) before the name is; after an error, or when the process
    is killed, ``path`` is what it was.

    Args:
        path: The file to write.

    Raises:
        OSError: If the disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_SUFFIX}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # a disk that is full does not say for which file
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copies a file so that the target is whole or what it was.

    Raises:
        OSError: As :func:`replace_file`, or if the source cannot be read.
    """
    with source.open("rb") as reader, replace_file(target) as writer:
        shutil.copyfileobj(reader, writer)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that :func:`replace_file` writes, or that a killed process left."""
    return _NAME.fullmatch(path.name) is not None


def sweep_temporary(folder: Path) -> None:
    """Deletes what killed processes left in a folder; what others may be writing stays."""
    for path in filter(is_temporary, folder.iterdir()):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
        # another process was quicker
        except FileNotFoundError:
            continue
