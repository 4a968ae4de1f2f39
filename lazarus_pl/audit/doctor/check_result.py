"""One line of the doctor's account."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "fault"]

SEVERITY: tuple[Status, ...] = ("ok", "warning", "fault")


@dataclass(frozen=True)
class CheckResult:
    """What was found, and what to do about it.

    Attributes:
        section: The group of lines that it belongs to.
        name: What was looked at; once in an account.
        value: What was found there.
        status: ``ok``; ``warning``: works, but slower or with less than there could be; ``fault``:
            something installed does not work.
        advice: One sentence; empty where there is nothing to say.
    """

    section: str
    name: str
    value: str
    status: Status = "ok"
    advice: str = ""


def worst(results: Iterable[CheckResult]) -> Status:
    """The most severe status of some results; ``ok`` if there are none."""
    return max((result.status for result in results), key=SEVERITY.index, default="ok")
