"""The card, its driver, what torch was built for, and whether a kernel runs."""

from __future__ import annotations

from collections.abc import Iterator

from lazarus_pl.audit.doctor.card import Capability, Card
from lazarus_pl.audit.doctor.check_result import CheckResult
from lazarus_pl.audit.doctor.checks.gigabytes import GIB, gigabytes
from lazarus_pl.audit.doctor.checks.which_torch import (
    advise,
    covers,
    is_dropped,
    oldest_driver,
)
from lazarus_pl.audit.doctor.machine import Machine

_SECTION = "GPU"
# a card sold with 4 GB shows a little less
_LEAST_MEMORY = int(3.5 * GIB)
_LEAST_FREE = 1 * GIB


def check_gpu(machine: Machine) -> Iterator[CheckResult]:
    """Judges whether the GPU, if there is one, does what it could."""
    there = bool(machine.cards) or machine.gpu is not None
    yield _card(machine) if there else _no_card(machine)
    if machine.cards:
        yield _driver(machine.cards[0])
    if "torch" in machine.problems:
        return
    yield _build(machine)
    if "cuda" in machine.problems or (there and (machine.cuda_build or machine.hip_build)):
        yield _kernel(machine)


def _no_card(machine: Machine) -> CheckResult:
    if machine.mps:
        return CheckResult(_SECTION, "card", "Apple GPU: --device mps uses it")
    return CheckResult(_SECTION, "card", "none that torch could use; the CPU does everything")


def _card(machine: Machine) -> CheckResult:
    gpu, card = machine.gpu, machine.cards[0] if machine.cards else None
    name = gpu.name if gpu else card.name if card else ""
    memory = gpu.memory if gpu else card.memory if card else None
    capability = _capability(machine)
    parts = [name]
    if memory:
        parts.append(gigabytes(memory))
    if capability:
        parts.append("compute capability {}.{}".format(*capability))
    if len(machine.cards) > 1:
        parts.append(f"the first of {len(machine.cards)}")
    value = ", ".join(parts)
    if memory and memory < _LEAST_MEMORY:
        advice = "less than 4 GB: train heads on cached features, and fine-tune in batches of 8"
        return CheckResult(_SECTION, "card", value, "warning", advice)
    if gpu and gpu.free_memory is not None and gpu.free_memory < _LEAST_FREE:
        advice = f"only {gigabytes(gpu.free_memory)} of its memory are free: close what holds them"
        return CheckResult(_SECTION, "card", value, "warning", advice)
    return CheckResult(_SECTION, "card", value)


def _driver(card: Card) -> CheckResult:
    if not card.driver:
        advice = (
            "install NVIDIA's driver (R580 is the last branch for Maxwell, Pascal and Volta), or "
            "pass the card into this container"
        )
        return CheckResult(_SECTION, "driver", "none answers for the card", "warning", advice)
    stay = "; R580 is the last branch for this card" if is_dropped(card.capability) else ""
    return CheckResult(_SECTION, "driver", card.driver + stay)


def _build(machine: Machine) -> CheckResult:
    if machine.hip_build:
        return CheckResult(_SECTION, "torch build", f"ROCm {machine.hip_build}")
    if machine.cuda_build:
        kernels = f" with {', '.join(machine.architectures)}" if machine.architectures else ""
        return CheckResult(_SECTION, "torch build", f"CUDA {machine.cuda_build}{kernels}")
    if not machine.cards:
        return CheckResult(_SECTION, "torch build", "for CPUs only")
    advice = f"torch cannot use the card: {advise(_capability(machine))}"
    return CheckResult(_SECTION, "torch build", "for CPUs only", "warning", advice)


def _kernel(machine: Machine) -> CheckResult:
    if problem := machine.problems.get("cuda"):
        advice = "looking for a GPU breaks torch: update the driver, restart, and try again"
        return CheckResult(_SECTION, "kernel", problem, "fault", advice)
    gpu = machine.gpu
    if gpu is None:
        return _unseen(machine)
    if not gpu.kernel_error:
        return CheckResult(_SECTION, "kernel", "runs")
    value = f"does not run: {gpu.kernel_error}"
    if _lacks(machine, gpu.capability):
        return CheckResult(_SECTION, "kernel", value, "fault", _dropped(gpu.capability))
    advice = "torch has kernels for this card: restart the machine, then update the driver"
    return CheckResult(_SECTION, "kernel", value, "fault", advice)


def _unseen(machine: Machine) -> CheckResult:
    """A build for GPUs that sees none of the cards."""
    value = "not tried: torch sees no GPU"
    card = machine.cards[0]
    if not card.driver:
        return CheckResult(_SECTION, "kernel", value, "warning", "mend the driver first")
    if machine.cuda_error:
        value += f" ({machine.cuda_error})"
    if machine.visible_cards is not None:
        advice = (
            f"the variable CUDA_VISIBLE_DEVICES is '{machine.visible_cards}', which may hide the "
            "card: unset it and try again"
        )
        return CheckResult(_SECTION, "kernel", value, "warning", advice)
    if card.capability and _lacks(machine, card.capability):
        return CheckResult(_SECTION, "kernel", value, "fault", _dropped(card.capability))
    oldest = oldest_driver(machine.cuda_build)
    if oldest and int(card.driver.partition(".")[0] or 0) < oldest:
        advice = (
            f"CUDA {machine.cuda_build} needs a driver from R{oldest} on: update it, or install a "
            "torch built for an older CUDA"
        )
        return CheckResult(_SECTION, "kernel", value, "fault", advice)
    advice = "restart the machine, then reinstall the driver: nvidia-smi sees the card"
    return CheckResult(_SECTION, "kernel", value, "fault", advice)


def _lacks(machine: Machine, capability: Capability) -> bool:
    known = bool(machine.cuda_build and machine.architectures)
    return known and not covers(machine.architectures, capability)


def _dropped(capability: Capability) -> str:
    name = "sm_{}{}".format(*capability)
    return f"this torch has no kernels for {name}: {advise(capability)}"


def _capability(machine: Machine) -> Capability | None:
    if machine.gpu:
        return machine.gpu.capability
    return machine.cards[0].capability if machine.cards else None
