"""Memory that a training step frees is there for the next one."""

from __future__ import annotations

import ctypes
import os
import sys

# of malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# glibc up to 2.34 refuses a larger threshold
_KEPT, _LARGEST = 256 << 20, 32 << 20
_SET_BY_USER = (
    *("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_"),
    "GLIBC_TUNABLES",
)


def keep_freed_memory() -> None:
    """Lets glibc keep up to 256 MB that were freed, in pieces of up to 32 MB.

    By default it hands large tensors back to the system at once, and a step on a CPU spent a tenth
    of its time on being given the same pages again, zeroed. Nothing is done where there is no
    glibc, or where the user has set its variables
    (https://man7.org/linux/man-pages/man3/mallopt.3.html).
    """
    if not sys.platform.startswith("linux") or any(map(os.environ.get, _SET_BY_USER)):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return
    # alone, the second would stop glibc from adapting the first
    if set_option(_MMAP_THRESHOLD, _LARGEST) == 1:
        set_option(_TRIM_THRESHOLD, _KEPT)
