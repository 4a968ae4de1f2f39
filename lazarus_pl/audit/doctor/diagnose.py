"""Facts to results of checks."""

from __future__ import annotations

from lazarus_pl.audit.doctor.check_result import CheckResult
from lazarus_pl.audit.doctor.checks.extras import check_extras
from lazarus_pl.audit.doctor.checks.gpu import check_gpu
from lazarus_pl.audit.doctor.checks.machine import check_machine
from lazarus_pl.audit.doctor.checks.not_known import check_not_known
from lazarus_pl.audit.doctor.checks.packages import check_packages
from lazarus_pl.audit.doctor.checks.precision import check_precision
from lazarus_pl.audit.doctor.checks.speed import check_speed
from lazarus_pl.audit.doctor.checks.weights import check_weights
from lazarus_pl.audit.doctor.machine import Machine

_CHECKS = (
    check_machine,
    check_packages,
    check_gpu,
    check_precision,
    check_speed,
    check_weights,
    check_extras,
    check_not_known,
)


def diagnose(machine: Machine) -> list[CheckResult]:
    """Judges a machine; nothing is looked at but its facts.

    Returns:
        Results by section, in the order in which they are read.
    """
    return [result for check in _CHECKS for result in check(machine)]
