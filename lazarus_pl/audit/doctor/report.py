"""The doctor's account, for people and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

from rich.text import Text

from lazarus_pl.audit.doctor.finding import Finding, Status, worst
from lazarus_pl.audit.doctor.machine import Machine

_COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "fault": "bold red"}
_STATUS_WIDTH = len("warning") + 2
_NARROWEST = 30


def account(findings: Sequence[Finding], width: int) -> Text:
    """A table with a heading a section, and the summary as its last line.

    Args:
        findings: In the order in which they are read.
        width: Of a line, in characters; commands and words are not broken to fit it.
    """
    names = max((len(finding.name) for finding in findings), default=0)
    text = Text()
    for section, members in groupby(findings, key=lambda finding: finding.section):
        text.append(f"{section}\n", style="bold")
        for finding in members:
            text.append(f"  {finding.status:{_STATUS_WIDTH}}", style=_COLOURS[finding.status])
            text.append(_wrapped(finding, names, width))
    colour = _COLOURS[worst(findings)]
    return text.append("\n").append(textwrap.fill(summary(findings), width), style=colour)


def summary(findings: Sequence[Finding]) -> str:
    """How it stands, in one sentence."""
    faults, warnings = (
        [finding.name for finding in findings if finding.status == status]
        for status in ("fault", "warning")
    )
    if faults:
        return f"{_count(len(faults), 'fault')} to mend: {', '.join(faults)}."
    if warnings:
        return (
            f"Lazarus works on this machine, with {_count(len(warnings), 'warning')}: "
            f"{', '.join(warnings)}."
        )
    return f"Lazarus works on this machine: all {len(findings)} lines are ok."


def as_json(machine: Machine, findings: Sequence[Finding]) -> str:
    """One object with the keys ``status``, ``findings`` and ``machine``."""
    content = {
        "status": worst(findings),
        "findings": [asdict(finding) for finding in findings],
        "machine": asdict(machine),
    }
    return json.dumps(content, indent=2)


def _wrapped(finding: Finding, names: int, width: int) -> str:
    """Name, value and advice of a finding, without the two columns before them."""
    margin = " " * (2 + _STATUS_WIDTH)
    hanging = margin + " " * (names + 2)
    lines = _fill(finding.value, f"{margin}{finding.name:{names}}  ", hanging, width)
    if finding.advice:
        lines += _fill(finding.advice, f"{margin}-> ", f"{margin}   ", width)
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
