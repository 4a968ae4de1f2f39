"""A GPU as it was before anything was on it."""

from __future__ import annotations

import torch

from callbacks.step_in_parts import empty_cache


def begin_anew(device: torch.device) -> None:
    """Trainers and modules hold each other: what is left of earlier ones goes first."""
    empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
