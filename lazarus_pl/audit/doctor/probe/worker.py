"""The process in which the probes run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable
from typing import Any

from lazarus_pl.audit.doctor.probe.stage import STAGES, Stage

_LONGEST = 300


def work(names: Iterable[str], failed: Iterable[str]) -> None:
    """Runs probes and writes one line of JSON on standard output as each of them ends.

    What libraries print goes to standard error.

    Args:
        names: The stages, in order.
        failed: Stages that failed in another process.
    """
    broken = set(failed)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as results:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for name in names:
            answer = _answer(STAGES[name], broken)
            if "facts" not in answer:
                broken.add(name)
            results.write(json.dumps({"stage": name, **answer}) + "\n")
            results.flush()


def _answer(stage: Stage, broken: Collection[str]) -> dict[str, Any]:
    lacking = [need for need in stage.needs if need in broken]
    if lacking:
        return {"skipped": lacking[0]}
    try:
        return {"facts": stage.probe()}
    # a broken package can raise anything when it is imported, even SystemExit
    except (Exception, SystemExit) as error:
        return {"problem": _told(error)}


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())[:_LONGEST]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
