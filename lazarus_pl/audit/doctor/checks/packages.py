"""The packages that everything stands on."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from lazarus_pl.audit.doctor.check_result import CheckResult
from lazarus_pl.audit.doctor.machine import Machine

TORCH = ">=2.6"
LIGHTNING = ">=2.6.6,<2.7"

_SECTION = "packages"
# published by thieves of credentials, which they take on import (GHSA-w37p-236h-pfx3)
_MALICIOUS = ("2.6.2", "2.6.3")
_BOTH = "pip install --force-reinstall torch torchvision, both from the same index"


def check_packages(machine: Machine) -> Iterator[CheckResult]:
    """Judges versions, and whether the packages that are built against torch can be imported."""
    versions = machine.versions
    if own := versions.get("lazarus-pl"):
        yield CheckResult(_SECTION, "lazarus-pl", own)
    yield _torch(machine)
    yield _torchvision(machine)
    yield _timm(machine)
    yield _lightning(machine)
    if machine.unmet:
        yield _unmet(machine)


def _torch(machine: Machine) -> CheckResult:
    version = machine.versions.get("torch", "")
    if problem := machine.problems.get("torch"):
        if not version and problem.startswith("ModuleNotFoundError"):
            advice = "pip install torch torchvision"
            return CheckResult(_SECTION, "torch", "not installed", "fault", advice)
        return _broken("torch", version, problem, f"reinstall it: {_BOTH}")
    if version and not _fits(version, TORCH):
        advice = f"torch {TORCH} is needed: pip install --upgrade torch torchvision"
        return CheckResult(_SECTION, "torch", version, "fault", advice)
    return CheckResult(_SECTION, "torch", version or "of unknown version")


def _torchvision(machine: Machine) -> CheckResult:
    name, version = "torchvision", machine.versions.get("torchvision", "")
    torch = machine.versions.get("torch", "")
    if name in machine.skipped:
        return _not_tried(name, version, machine.skipped[name])
    matches = not (machine.torch_wanted and torch) or _fits(torch, machine.torch_wanted)
    if problem := machine.problems.get(name):
        if not version and problem.startswith("ModuleNotFoundError"):
            advice = "timm cannot be imported without it: pip install torchvision"
            return CheckResult(_SECTION, name, "not installed", "fault", advice)
        reason = (
            "it was most likely built for another torch"
            if matches
            else f"it does not match torch {torch} (it wants torch {machine.torch_wanted})"
        )
        return _broken(name, version, problem, f"{reason}, and timm needs it: {_BOTH}")
    if not matches:
        advice = (
            f"it was built for torch {machine.torch_wanted}, torch {torch} is installed: {_BOTH}"
        )
        return CheckResult(_SECTION, name, version, "warning", advice)
    return CheckResult(_SECTION, name, version or "of unknown version")


def _timm(machine: Machine) -> CheckResult:
    version = machine.versions.get("timm", "")
    if "timm" in machine.skipped:
        return _not_tried("timm", version, machine.skipped["timm"])
    if problem := machine.problems.get("timm"):
        advice = (
            "mend torchvision first: timm imports it"
            if "torchvision" in machine.problems
            else "reinstall it: pip install --force-reinstall --no-deps timm"
        )
        return _broken("timm", version, problem, advice)
    return CheckResult(_SECTION, "timm", version or "of unknown version")


def _lightning(machine: Machine) -> CheckResult:
    found = {
        name: version
        for name in ("lightning", "pytorch-lightning")
        if (version := machine.versions.get(name))
    }
    mend = f'pip install "lightning{LIGHTNING}"'
    for name, version in found.items():
        if version in _MALICIOUS:
            advice = (
                f"this release steals credentials: do not import it, {mend}, and change every "
                "password and token that was on this machine"
            )
            return CheckResult(_SECTION, "lightning", f"{name} {version}", "fault", advice)
    version = found.get("lightning", "")
    if not version:
        return CheckResult(_SECTION, "lightning", "not installed", "fault", mend)
    if not _fits(version, LIGHTNING):
        advice = f"lazarus is tested with lightning{LIGHTNING}: {mend}"
        return CheckResult(_SECTION, "lightning", version, "fault", advice)
    return CheckResult(_SECTION, "lightning", version)


def _unmet(machine: Machine) -> CheckResult:
    value = ", ".join(
        f"{need} ({f'{version} is installed' if version else 'missing'})"
        for need, version in machine.unmet.items()
    )
    advice = "pip install " + " ".join(f'"{need}"' for need in machine.unmet)
    missing = not all(machine.unmet.values())
    return CheckResult(_SECTION, "requirements", value, "fault" if missing else "warning", advice)


def _broken(name: str, version: str, problem: str, advice: str) -> CheckResult:
    value = f"{version} cannot be imported: {problem}".strip()
    return CheckResult(_SECTION, name, value, "fault", advice)


def _not_tried(name: str, version: str, need: str) -> CheckResult:
    value = f"{version}, not tried".removeprefix(", ")
    return CheckResult(_SECTION, name, value, "warning", f"mend {need} first: {name} imports it")


def _fits(version: str, specifier: str) -> bool:
    """Whether a version is in a range; a build between two releases counts as the later one."""
    try:
        release = Version(version).base_version
    except InvalidVersion:
        return True
    return SpecifierSet(specifier).contains(release)
