"""Processes that begin with Lightning imported: importing it takes longer than most tests.

What they do must not depend on how an interpreter starts and ends.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# there is no fork on Windows
_CONTEXT: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
# nothing is computed yet: threads that are at work do not survive a fork
_IMPORTED = ["pytest", "callbacks", "lazarus_pl.lightning_cli", "lazarus_pl.grid.run_trainer"]


def serve() -> None:
    """Imports what the processes have in common, beside what is done here."""
    if sys.platform != "win32":
        from multiprocessing import forkserver

        _CONTEXT.set_forkserver_preload(_IMPORTED)
        forkserver.ensure_running()


def begin(work: Callable[..., object], *arguments: object) -> BaseProcess:
    """A process that calls a function of a module."""
    process: BaseProcess = _CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def begin_lazarus(
    words: Sequence[object], folder: Path, log: Path, environment: dict[str, str] | None = None
) -> BaseProcess:
    """The command line in a process, folder and environment of its own."""
    return begin(_lazarus, [str(word) for word in words], folder, log, environment or {})


def _lazarus(words: list[str], folder: Path, log: Path, environment: dict[str, str]) -> None:
    _write_to(log)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["lazarus", *words]
    from lazarus_pl.__main__ import start

    sys.exit(start())


class Piped:
    """As ``subprocess.Popen``: a function of a module that reads what is written to it; no Windows.

    Args:
        work: Its standard input is ``stdin`` of this.
        log: Where it writes to.
    """

    def __init__(self, work: Callable[[], object], log: Path) -> None:
        theirs, ours = _CONTEXT.Pipe(duplex=False)
        self._process = begin(_read_from, work, theirs, log)
        theirs.close()
        self.stdin = os.fdopen(os.dup(ours.fileno()), "wb")
        ours.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self.returncode


def _read_from(work: Callable[[], object], pipe: Connection, log: Path) -> None:
    _write_to(log)
    os.dup2(pipe.fileno(), 0)
    pipe.close()
    sys.stdin = os.fdopen(0)
    work()


def _write_to(log: Path) -> None:
    sys.stdout.flush()
    with log.open("ab") as file:
        for output in (1, 2):
            os.dup2(file.fileno(), output)
