"""Cores that this process may use."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

# a container's share of time, on Linux alone
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """As many cores as this process can keep busy: those allowed, or a container's share."""
    allowed = len(allowed_cores())
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
    except OSError:
        return allowed
    return allowed if quota == "max" else min(allowed, ceil(int(quota) / int(period)))


def allowed_cores() -> set[int]:
    """The numbers of the cores on which this process may run."""
    affinity = getattr(os, "sched_getaffinity", None)
    return set(affinity(0)) if affinity else set(range(os.cpu_count() or 1))
