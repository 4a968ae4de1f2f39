"""Python, processor, memory and disk."""

from __future__ import annotations

from collections.abc import Iterator

from lazarus_pl.audit.doctor.check_result import CheckResult
from lazarus_pl.audit.doctor.checks.gigabytes import GIB, gigabytes
from lazarus_pl.audit.doctor.machine import Machine

_SECTION = "machine"
_LEAST_RAM = 2 * GIB
_LEAST_DISK = 2 * GIB
_MOST_BUSY = 0.4


def check_machine(machine: Machine) -> Iterator[CheckResult]:
    """Judges what every step needs."""
    if machine.python:
        yield CheckResult(_SECTION, "python", f"{machine.python} on {machine.platform}")
    if machine.cpu or machine.cpu_features is not None:
        yield CheckResult(_SECTION, "processor", _processor(machine))
    if machine.cores:
        yield _cores(machine, machine.cores)
    if machine.free_ram is not None:
        yield _memory(machine.free_ram, machine.ram or machine.free_ram)
    if machine.free_disk is not None:
        yield _disk(machine.free_disk, machine.disk_path)


def _processor(machine: Machine) -> str:
    name = machine.cpu or "unknown"
    if machine.cpu_features is None:
        return name
    features = ", ".join(machine.cpu_features) or "no AVX2"
    return f"{name}: {features}" + ("" if machine.has_bf16 else "; no AVX-512-BF16, no AMX")


def _cores(machine: Machine, cores: int) -> CheckResult:
    value = str(cores)
    # a machine that gives this process a few of its cores has more of them
    if machine.physical_cores and machine.physical_cores <= cores:
        value += f", {machine.physical_cores} physical"
    if not machine.busy_cores or machine.busy_cores < _MOST_BUSY * cores:
        return CheckResult(_SECTION, "cores", value)
    value += f", {machine.busy_cores:.1f} in use by other programs"
    advice = "the speeds below are lower than on an idle machine: close what is running, try again"
    return CheckResult(_SECTION, "cores", value, "warning", advice)


def _memory(free: int, total: int) -> CheckResult:
    value = f"{gigabytes(free)} free of {gigabytes(total)}"
    if free >= _LEAST_RAM:
        return CheckResult(_SECTION, "memory", value)
    advice = f"less than {gigabytes(_LEAST_RAM)} are free: close other programs before you train"
    return CheckResult(_SECTION, "memory", value, "warning", advice)


def _disk(free: int, path: str) -> CheckResult:
    value = f"{gigabytes(free)} free at '{path}'"
    if free >= _LEAST_DISK:
        return CheckResult(_SECTION, "disk", value)
    advice = (
        f"less than {gigabytes(_LEAST_DISK)} are free: keep caches on another disk with --out, or "
        "make room"
    )
    return CheckResult(_SECTION, "disk", value, "warning", advice)
