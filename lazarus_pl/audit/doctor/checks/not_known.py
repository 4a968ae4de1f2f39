"""Probes that failed without another line to say so."""

from __future__ import annotations

from collections.abc import Iterator

from lazarus_pl.audit.doctor.check_result import CheckResult
from lazarus_pl.audit.doctor.machine import Machine

_TOLD_ELSEWHERE = ("torch", "torchvision", "timm", "cuda", "encoder")


def check_not_known(machine: Machine) -> Iterator[CheckResult]:
    """One warning for each of them."""
    for stage, problem in machine.problems.items():
        if stage not in _TOLD_ELSEWHERE:
            advice = f"whatever uses the {stage} may fail in the same way"
            yield CheckResult("not known", stage, problem, "warning", advice)
