"""Linear warm-up, then half a cosine to zero."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineSchedule:
    """Factor of the learning rate by step (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Attributes:
        total: Steps of the whole run.
        warmup: Share of them in which the factor rises from 0 to 1.
    """

    total: int
    warmup: float = 0.05

    def __call__(self, step: int) -> float:
        """The factor at a step, 0 to 1."""
        rising = max(1, round(self.warmup * self.total))
        if step < rising:
            return (step + 1) / rising
        progress = (step - rising) / max(1, self.total - rising)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
