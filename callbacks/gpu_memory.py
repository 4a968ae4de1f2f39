"""Amounts of memory as people write them, and a limit on what torch takes."""

from __future__ import annotations

import re

import torch

from callbacks.require import require

_BYTES = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB|KiB|MiB|GiB)", re.IGNORECASE)


def read_memory(text: str) -> int:
    """Bytes of ``4GB``, ``512MB`` or ``3.5 GiB``.

    Raises:
        MisconfigurationException: If it is no such amount, or is nothing.
    """
    found = _AMOUNT.fullmatch(str(text).strip())
    amount = int(float(found[1]) * _BYTES[found[2].upper()]) if found else 0
    require(amount > 0, f"'{text}' is no amount of memory: give one such as 4GB or 512MB")
    return amount


def say_memory(amount: float) -> str:
    """``850 MB``, ``3.9 GB``."""
    for unit in ("GB", "MB"):
        if amount >= _BYTES[unit]:
            return f"{amount / _BYTES[unit]:.3g} {unit}"
    return f"{amount / _BYTES['KB']:.3g} KB"


def cap_gpu_memory(amount: int) -> None:
    """Lets torch take no more than this of each GPU, in this process; does nothing without one.

    What CUDA itself takes before the first tensor, some hundred MB, comes on top.
    """
    if not torch.cuda.is_available():
        return
    for number in range(torch.cuda.device_count()):
        total = torch.cuda.get_device_properties(number).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, amount / total), number)
