"""Gathers the facts of this machine."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lazarus_pl.audit.doctor.machine import Machine
from lazarus_pl.audit.doctor.probe.stage import STAGES, Facts

_SECONDS = 180
_START = """
import json, sys
order = json.loads(sys.argv[1])
sys.path[:] = order["path"]
from lazarus_pl.audit.doctor.probe.worker import work
work(order["stages"], order["failed"])
"""


def probe_machine(path: Path) -> Machine:
    """Runs every probe in a process beside this one.

    A shared library that does not fit can end a process without an exception; the probes after
    the one that it happened to then run in a new process.

    Args:
        path: Folder whose disk is asked about.
    """
    facts: Facts = {"disk_path": str(path), "free_disk": shutil.disk_usage(path).free}
    problems: dict[str, str] = {}
    skipped: dict[str, str] = {}
    left = list(STAGES)
    while left:
        answers, end = _run(left, {*problems, *skipped})
        for answer in answers:
            name = answer["stage"]
            left.remove(name)
            facts.update(answer.get("facts", {}))
            problems.update({name: answer["problem"]} if "problem" in answer else {})
            skipped.update({name: answer["skipped"]} if "skipped" in answer else {})
        if left:
            problems[left.pop(0)] = end
    return Machine.from_facts({**facts, "problems": problems, "skipped": skipped})


def _run(stages: list[str], failed: Iterable[str]) -> tuple[list[dict[str, Any]], str]:
    """Answers of the stages that ended, and how the process did."""
    order = {
        "path": [entry or str(Path.cwd()) for entry in sys.path],
        "stages": stages,
        "failed": sorted(failed),
    }
    command = [sys.executable, "-c", _START, json.dumps(order)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return _answers(error.stdout or b""), f"gave no answer in {_SECONDS} seconds"
    return _answers(done.stdout), _end(done)


def _answers(output: bytes) -> list[dict[str, Any]]:
    # a process that was killed may leave half a line, and other lines are not the worker's
    whole, _, _ = output.rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith(b'{"stage"')]


def _end(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"the process was ended by {signal.Signals(-done.returncode).name}"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return f"the process ended with code {done.returncode}" + (f": {said[-1]}" if said else "")
