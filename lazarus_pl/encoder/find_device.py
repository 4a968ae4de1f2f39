"""The device that a user names."""

from __future__ import annotations

import functools
import logging

import torch

from lazarus_pl.encoder.launch_kernel import launch_kernel
from lazarus_pl.errors import LazarusError

_LOG = logging.getLogger(__name__)


def find_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is the GPU if a kernel runs on it, else the CPU.

    Raises:
        LazarusError: If it cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if _cuda_works() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise LazarusError(
            f"the device '{name}' cannot be used ({reason}): use --device auto or cpu"
        ) from error
    return device


def _cuda_works() -> bool:
    """Whether a kernel runs: a driver and a card are not enough, the build must know the card."""
    return torch.cuda.is_available() and _kernel_runs()


@functools.cache
def _kernel_runs() -> bool:
    """Asked once: what is wrong is told once, however many trainings there are."""
    error = launch_kernel()
    if error:
        _LOG.warning("the GPU cannot be used (%s): using the CPU; lazarus doctor says more", error)
    return not error
