"""A GPU as torch knows it."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_pl.audit.doctor.card import Capability


@dataclass(frozen=True)
class Gpu:
    """The GPU that torch takes first.

    Attributes:
        name: As torch calls it.
        capability: Compute capability.
        memory: In bytes.
        free_memory: In bytes; None if it could not be asked.
        kernel_error: Why a small kernel did not run; empty if it did.
    """

    name: str
    capability: Capability
    memory: int
    free_memory: int | None = None
    kernel_error: str = ""
