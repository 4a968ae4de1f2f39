"""What one step costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StageCost:
    """One row of the table of costs.

    Attributes:
        stage: What is done.
        seconds: Estimated time on this machine.
        disk_mb: Room on the disk, in units of a million bytes.
        ram_mb: Memory of the process while it runs.
        gpu_mb: GPU memory that it takes, or would take on a machine that has one.
        bottleneck: ``decode``, ``encoder``, ``disk``, ``optimizer``, ``backbone`` or ``overhead``.
        advice: The setting that would relieve it.
    """

    stage: str
    seconds: float
    disk_mb: float
    ram_mb: float
    gpu_mb: float
    bottleneck: str
    advice: str
