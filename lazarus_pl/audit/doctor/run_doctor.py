"""The verb ``lazarus doctor``."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from lazarus_pl.audit.doctor.check_result import worst
from lazarus_pl.audit.doctor.diagnose import diagnose
from lazarus_pl.audit.doctor.probe.probe_machine import probe_machine
from lazarus_pl.audit.doctor.report import account, as_json
from lazarus_pl.errors import LazarusError

_WIDTH_IN_A_PIPE = 100


def doctor(json: bool = False, path: Path = Path()) -> int:
    """Looks at this machine: packages, GPU, precision, speed, weights, and says what to mend.

    A real kernel is launched and a batch goes through the real encoder. Nothing is downloaded.
    The exit code is 1 if there is a fault.

    Args:
        json: Print one JSON object instead of a table.
        path: Folder whose disk is looked at.
    """
    if not path.is_dir():
        raise LazarusError(f"the folder '{path}' does not exist: give another with --path")
    waiting = Console(stderr=True)
    with waiting.status("looking at this machine") if waiting.is_terminal else nullcontext():
        machine = probe_machine(path)
    results = diagnose(machine)
    if json:
        print(as_json(machine, results))
    else:
        console = _console()
        # the lines are broken already, at words
        console.print(account(results, console.width), soft_wrap=True)
    return int(worst(results) == "fault")


def _console() -> Console:
    """The terminal, or plain text."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH_IN_A_PIPE, no_color=True)
