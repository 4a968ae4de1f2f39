"""Which precision the machine computes in, and rightly."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lazarus_pl.audit.doctor.check_result import CheckResult
from lazarus_pl.audit.doctor.gpu import Gpu
from lazarus_pl.audit.doctor.machine import Machine
from lazarus_pl.encoder.precision import MIN_COSINE, NOT_FINITE

_SECTION = "precision"
_NAMES = {"16": "fp16", "bf16": "bf16"}
_MIXED = {"16": "16-mixed", "bf16": "bf16-mixed"}

# Turing without tensor cores (ultralytics pull request #17977)
_WITHOUT_FP16 = re.compile(r"GTX 16\d\d|\bT(400|500|550|600|1000|1200|2000)\b")
_FULL_RATE = ((5, 3), (6, 0), (6, 2))
_VOLTA = 7


def check_precision(machine: Machine) -> Iterator[CheckResult]:
    """Judges the comparison of reduced precision with float32 on the real backbone."""
    gpu = machine.gpu if machine.gpu and not machine.gpu.kernel_error else None
    for precision, cosine in machine.agreement.items():
        yield _agreement(precision, cosine, gpu)
    if gpu is not None or "bf16" in machine.agreement:
        return
    if machine.has_bf16 or "precision" in {*machine.problems, *machine.skipped}:
        yield CheckResult(_SECTION, "bf16", "not measured")
    elif machine.cpu_features is not None:
        yield CheckResult(
            _SECTION, "bf16", "not in this processor's hardware; float32 is faster here"
        )


def _agreement(precision: str, cosine: float, gpu: Gpu | None) -> CheckResult:
    name = _NAMES[precision]
    if cosine < MIN_COSINE:
        value = (
            "gives values that are not finite"
            if cosine == NOT_FINITE
            else f"disagrees with float32 on 8 photos (cosine {cosine:.4f})"
        )
        return CheckResult(_SECTION, name, value, "warning", _unsound(precision, gpu))
    value = f"agrees with float32 on 8 photos (cosine {cosine:.4f})"
    if precision == "16" and gpu and _is_slow(gpu):
        advice = (
            "fp16 arithmetic is many times slower than float32 on this card (1/64 on Pascal): "
            "train with --trainer.precision 32-true, 16-mixed only saves memory"
        )
        return CheckResult(_SECTION, name, f"{value}, but slow", "warning", advice)
    return CheckResult(_SECTION, name, value)


def _unsound(precision: str, gpu: Gpu | None) -> str:
    known = (
        ", as other GTX 16xx and Quadro T cards do"
        if precision == "16" and gpu and _WITHOUT_FP16.search(gpu.name)
        else ""
    )
    where = "this card" if gpu else "this processor"
    return (
        f"{where} computes {_NAMES[precision]} wrongly{known}: train with --trainer.precision "
        f"32-true, never {_MIXED[precision]}"
    )


def _is_slow(gpu: Gpu) -> bool:
    return gpu.capability[0] < _VOLTA and gpu.capability not in _FULL_RATE
