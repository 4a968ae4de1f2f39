"""Runs of a grid that are trained in a second process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from lazarus_pl.grid.grid_spec import GridRun


class GridWorker:
    """Trains runs in a process of its own, while this one trains others.

    Two trainings with half of the cores each take less time than one after the other with all of
    them, since steps are short and cores wait for each other in each. The process writes what
    :class:`~lazarus_pl.grid.grid.Grid` would write. What it fails at, whoever waits for it tries
    again; it ends when this process does, however that ends.

    Args:
        runs: What to train.
        parts: Names of runs that it takes together; those that another process has are left out.
        cache: The feature cache.
        out: The grid's folder.
        gpu_memory: As of the grid.
        threads: Cores that it may use.
    """

    def __init__(
        self,
        runs: Sequence[GridRun],
        parts: Sequence[Sequence[str]],
        cache: Path,
        out: Path,
        gpu_memory: str | None,
        threads: int,
    ) -> None:
        told = {
            "runs": [{**asdict(run), "config": str(run.config)} for run in runs],
            "parts": parts,
            "cache": str(cache),
            "out": str(out),
            "gpu_memory": gpu_memory,
            "threads": threads,
        }
        self._told = json.dumps(told).encode() + b"\n"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether it has not ended yet."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> GridWorker:
        """Starts."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _begin()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        try:
            # stays open: its end is the end of this process
            self._process.stdin.write(self._told)
            self._process.stdin.flush()
        except OSError:
            # ended at once: the runs are left to this process
            self._process.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits, or ends it after an error."""
        assert self._process is not None
        if error is not None:
            self._process.terminate()
        self._process.wait()
        assert self._process.stdin is not None
        # what could not be written to it is written again here
        with contextlib.suppress(OSError):
            self._process.stdin.close()


def _begin() -> str:
    """Modules are looked for where this process does, and so not in the working folder."""
    return f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import work; work()"


def work() -> None:
    """What the process does: trains what it is told on standard input."""
    told = json.loads(sys.stdin.buffer.readline())
    # Ctrl-C is for who waits for it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    import torch

    from lazarus_pl.grid.grid import Grid
    from lazarus_pl.lightning_cli import quiet

    torch.set_num_threads(told["threads"])
    quiet()
    runs = [GridRun(**{**run, "config": Path(run["config"])}) for run in told["runs"]]
    grid = Grid(runs, Path(told["cache"]), Path(told["out"]), told["gpu_memory"])
    grid.train_parts(told["parts"])


def _end_with_the_other() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
