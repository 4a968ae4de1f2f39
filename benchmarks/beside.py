"""A machine that is idle, or that another program is at work on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def beside(machine: str, program: str) -> Iterator[None]:
    """Runs a Python program meanwhile, unless the machine is to be ``idle``."""
    if machine == "idle":
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield
    finally:
        process.kill()
        process.wait()
