"""Runs of a grid that are trained in a second process."""

from __future__ import annotations

import contextlib
import json
import logging
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

_LOG = logging.getLogger(__name__)


class GridWorker:
    """Trains parts of a grid in a process of its own, while this one trains others.

    Two trainings with half of the cores each take less time than one after the other with all of
    them, since steps are short and cores wait for each other in each. The process writes the
    results and checkpoints of its runs, and ends when this process does, however that ends. Where
    it cannot be started or fails, its runs are left to this process.

    Args:
        parts: Runs that it takes together; those that another process has are left out.
        cache: The feature cache.
        out: The grid's folder; what the process has to say is in ``locks/worker.log`` there.
        gpu_memory: As of the grid.
        threads: Cores that it may use.

    Attributes:
        threads: Cores that it may use.
    """

    def __init__(
        self,
        parts: Sequence[Sequence[GridRun]],
        cache: Path,
        out: Path,
        gpu_memory: str | None,
        threads: int,
    ) -> None:
        told = {
            "parts": [
                [{**asdict(run), "config": str(run.config)} for run in part] for part in parts
            ],
            "cache": str(cache),
            "out": str(out),
            "gpu_memory": gpu_memory,
            "threads": threads,
        }
        self.threads = threads
        self._told = json.dumps(told).encode() + b"\n"
        self._log = out / "locks" / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether it has begun and not ended yet."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> GridWorker:
        """Starts, where that can be done."""
        try:
            self._process = self._start()
        except OSError as error:
            _LOG.warning("a second process cannot be started, this one trains all: %s", error)
            return self
        assert self._process.stdin is not None
        # where it has ended at once, its exit code says so
        with contextlib.suppress(OSError):
            # stays open: its end is the end of this process
            self._process.stdin.write(self._told)
            self._process.stdin.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits, or ends it after an error."""
        if self._process is None:
            return
        if error is not None:
            self._process.terminate()
        code = self._process.wait()
        assert self._process.stdin is not None
        # what could not be written to it is written again here
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if code and error is None:
            _LOG.warning(
                "the second process ended with code %d, its runs are trained here: see '%s'",
                *(code, self._log),
            )

    def _start(self) -> subprocess.Popen[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable or "", "-c", _source()],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                # it reads configs as this process does
                env={**os.environ, "PYTHONUTF8": str(sys.flags.utf8_mode)},
            )


def _source() -> str:
    """Modules are looked for where this process does, and so not in the working folder."""
    return f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import work; work()"


def work() -> None:
    """What the process does: trains what it is told on standard input."""
    told = json.loads(sys.stdin.buffer.readline())
    # Ctrl-C is for who waits for it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    import torch

    from lazarus_pl.grid.part_claims import PartClaims
    from lazarus_pl.grid.run_trainer import RunTrainer
    from lazarus_pl.lightning_cli import quiet

    torch.set_num_threads(told["threads"])
    quiet()
    out = Path(told["out"])
    trainer = RunTrainer(Path(told["cache"]), out, told["gpu_memory"])
    for part in PartClaims(out).free([[_run(run) for run in part] for part in told["parts"]]):
        trainer.train(part)


def _run(told: dict[str, object]) -> GridRun:
    return GridRun(**{**told, "config": Path(str(told["config"]))})  # type: ignore[arg-type]


def _end_with_the_other() -> None:
    # not of sys.stdin, whose lock would be held when the interpreter ends
    os.read(0, 1)
    os._exit(1)
