"""The doctor's account, for people and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

from rich.text import Text

from lazarus_pl.audit.doctor.check_result import CheckResult, Status, worst
from lazarus_pl.audit.doctor.machine import Machine

_COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "fault": "bold red"}
_STATUS_WIDTH = len("warning") + 2
_NARROWEST = 30


def account(results: Sequence[CheckResult], width: int) -> Text:
    """A table with a heading a section, and the summary as its last line.

    Args:
        results: In the order in which they are read.
        width: Of a line, in characters; commands and words are not broken to fit it.
    """
    names = max((len(result.name) for result in results), default=0)
    text = Text()
    for section, members in groupby(results, key=lambda result: result.section):
        text.append(f"{section}\n", style="bold")
        for result in members:
            text.append(f"  {result.status:{_STATUS_WIDTH}}", style=_COLOURS[result.status])
            text.append(_wrapped(result, names, width))
    colour = _COLOURS[worst(results)]
    return text.append("\n").append(textwrap.fill(summary(results), width), style=colour)


def summary(results: Sequence[CheckResult]) -> str:
    """How it stands, in one sentence."""
    faults, warnings = (
        [result.name for result in results if result.status == status]
        for status in ("fault", "warning")
    )
    if faults:
        return f"{_count(len(faults), 'fault')} to mend: {', '.join(faults)}."
    if warnings:
        return (
            f"Lazarus works on this machine, with {_count(len(warnings), 'warning')}: "
            f"{', '.join(warnings)}."
        )
    return f"Lazarus works on this machine: all {len(results)} lines are ok."


def as_json(machine: Machine, results: Sequence[CheckResult]) -> str:
    """One object with the keys ``status``, ``findings`` and ``machine``."""
    content = {
        "status": worst(results),
        "findings": [asdict(result) for result in results],
        "machine": asdict(machine),
    }
    return json.dumps(content, indent=2)


def _wrapped(result: CheckResult, names: int, width: int) -> str:
    """Name, value and advice of a result, without the two columns before them."""
    margin = " " * (2 + _STATUS_WIDTH)
    hanging = margin + " " * (names + 2)
    lines = _fill(result.value, f"{margin}{result.name:{names}}  ", hanging, width)
    if result.advice:
        lines += _fill(result.advice, f"{margin}-> ", f"{margin}   ", width)
    return lines.removeprefix(margin)


def _fill(text: str, first: str, others: str, width: int) -> str:
    filled = textwrap.fill(
        text,
        max(width, len(first) + _NARROWEST),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{filled}\n"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number > 1 else ''}"
