"""What can be installed beside the core."""

from __future__ import annotations

from collections.abc import Iterator

from lazarus_pl.audit.doctor.finding import Finding
from lazarus_pl.audit.doctor.machine import Machine

_SECTION = "extras"


def check_extras(machine: Machine) -> Iterator[Finding]:
    """Tells of each extra; an extra that is not there is no mistake."""
    for extra, missing in machine.extras.items():
        if not missing:
            yield Finding(_SECTION, extra, "installed")
        else:
            advice = f'pip install "lazarus-pl[{extra}]" installs it'
            yield Finding(_SECTION, extra, f"without {', '.join(missing)}", advice=advice)
