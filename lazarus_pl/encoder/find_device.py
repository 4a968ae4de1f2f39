"""The device that a user names."""

from __future__ import annotations

import logging

import torch

from lazarus_pl.encoder.launch_kernel import launch_kernel
from lazarus_pl.errors import LazarusError

_LOG = logging.getLogger(__name__)
_known: dict[str, bool] = {}


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


def _kernel_runs() -> bool:
    """What is wrong is told once a process, however many trainings there are."""
    if "runs" in _known:
        return _known["runs"]
    error = launch_kernel()
    if error and "told" not in _known:
        _LOG.warning("the GPU cannot be used (%s): using the CPU; lazarus doctor says more", error)
        _known["told"] = True
    # a card that others have filled may have room later
    if "out of memory" not in error:
        _known["runs"] = not error
    return not error
