"""How long ten thousand photos take."""

from __future__ import annotations

from collections.abc import Iterator

from lazarus_pl.audit.doctor.check_result import CheckResult
from lazarus_pl.audit.doctor.machine import Machine
from lazarus_pl.duration import say_duration

_SECTION = "speed"
_PHOTOS = 10_000
_SLOW = 3.0


def check_speed(machine: Machine) -> Iterator[CheckResult]:
    """Judges the measured speeds; both are needed for an extraction."""
    if machine.decode_rate is not None:
        every = machine.decode_rate_all
        both = f", {every:,.0f} with all cores" if every is not None else ""
        value = f"{machine.decode_rate:,.0f} photos of 256 px a second with one core{both}"
        yield CheckResult(_SECTION, "decoding", value)
    yield _encoding(machine)


def _encoding(machine: Machine) -> CheckResult:
    if need := machine.skipped.get("encoder"):
        advice = f"mend {need} first: the encoder needs it"
        return CheckResult(_SECTION, "encoding", "not measured", "warning", advice)
    if problem := machine.problems.get("encoder"):
        advice = "lazarus extract would fail in the same way: mend this first"
        return CheckResult(_SECTION, "encoding", f"does not run: {problem}", "fault", advice)
    rate = machine.encoder_rate
    if rate is None:
        return CheckResult(
            _SECTION, "encoding", "not measured", "warning", "run lazarus doctor again"
        )
    by = f" by {machine.encoder_engine}" if machine.encoder_engine else ""
    value = (
        f"{rate:,.1f} photos a second{by} on {machine.encoder_device} in "
        f"{machine.encoder_precision}, "
        f"{_PHOTOS:,} in about {say_duration(_PHOTOS / rate)}"
    )
    if rate >= _SLOW:
        return CheckResult(_SECTION, "encoding", value)
    advice = "slow: close other programs, or extract with --encoder.image_size 128"
    return CheckResult(_SECTION, "encoding", value, "warning", advice)
