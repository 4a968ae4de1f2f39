"""Memory that this process may use."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil

# of a container, on Linux alone; a name of version 2 is followed by that of version 1
_CGROUP = Path("/sys/fs/cgroup")
_LIMIT = ("memory.max", "memory/memory.limit_in_bytes")
_USED = ("memory.current", "memory/memory.usage_in_bytes")
_STAT = ("memory.stat", "memory/memory.stat")
# read from disk and held for the next reader: given up when memory is wanted
_GIVEN_UP = ("active_file", "inactive_file")


class UsableMemory(NamedTuple):
    """Bytes of memory.

    Attributes:
        total: That the machine has, or that its container may have.
        free: That programs can still have of it.
    """

    total: int
    free: int


def usable_memory() -> UsableMemory:
    """The machine's memory, or the container's where that is less."""
    machine = psutil.virtual_memory()
    limit, used = _read(_LIMIT), _read(_USED)
    # without a limit version 2 says "max", version 1 a number beyond any memory
    if not limit.isdigit() or not used.isdigit():
        return UsableMemory(machine.total, machine.available)
    free = max(0, int(limit) - int(used) + _given_up())
    return UsableMemory(min(machine.total, int(limit)), min(machine.available, free))


def _given_up() -> int:
    pairs = (line.split() for line in _read(_STAT).splitlines())
    return sum(int(count) for name, count in pairs if name in _GIVEN_UP)


def _read(names: tuple[str, ...]) -> str:
    """The first of some files that is there; empty if there is none."""
    for name in names:
        try:
            return (_CGROUP / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
    return ""
