"""How much memory torch may take of a GPU."""

from __future__ import annotations

import torch

_UNITS = {"GB": 1e9, "MB": 1e6, "KB": 1e3}


def say_memory(amount: float) -> str:
    """``850 MB``, ``3.9 GB``."""
    unit = next((name for name, size in _UNITS.items() if amount >= size), "KB")
    return f"{amount / _UNITS[unit]:.3g} {unit}"


def cap_gpu_memory(amount: int) -> None:
    """Lets torch take no more than this of each GPU, in this process; does nothing without one.

    What CUDA itself takes before the first tensor, some hundred MB, comes on top.
    """
    if not torch.cuda.is_available():
        return
    for number in range(torch.cuda.device_count()):
        total = torch.cuda.get_device_properties(number).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, amount / total), number)
