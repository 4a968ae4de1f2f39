"""What can be installed beside the core."""

from __future__ import annotations

from collections.abc import Iterator

from lazarus_pl.audit.doctor.check_result import CheckResult
from lazarus_pl.audit.doctor.machine import Machine

_SECTION = "extras"


def check_extras(machine: Machine) -> Iterator[CheckResult]:
    """Tells of each extra; an extra that is not there is no mistake."""
    for extra, missing in machine.extras.items():
        if not missing:
            yield CheckResult(_SECTION, extra, "installed")
        else:
            advice = f'pip install "lazarus-pl[{extra}]" installs it'
            yield CheckResult(_SECTION, extra, f"without {', '.join(missing)}", advice=advice)
