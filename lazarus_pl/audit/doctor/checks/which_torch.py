"""Which torch runs on which card."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lazarus_pl.audit.doctor.card import Capability

# Maxwell, Pascal and Volta: only wheels built with CUDA 12.6 still had their kernels, and PyTorch
# 2.14 was the last to have such wheels (pytorch #190385, pull request #196249)
_OLDEST: Capability = (5, 0)
_KEPT: Capability = (7, 5)
_LAST = 'pip install --force-reinstall "torch==2.14.*" torchvision'

# oldest driver for a major version of CUDA (NVIDIA, CUDA Compatibility, table 1)
_DRIVERS = {11: 450, 12: 525, 13: 580}


def covers(architectures: Iterable[str], capability: Capability) -> bool:
    """Whether a build has kernels for a card.

    Kernels for ``sm_60`` run on 6.1: same major version, minor version at most that of the card.
    ``compute_70`` is compiled for anything newer when it is loaded.

    Args:
        architectures: What the build lists.
        capability: Of the card.
    """
    return any(_runs(name, capability) for name in architectures)


def is_dropped(capability: Capability | None) -> bool:
    """Whether a card is of a family that torch had until 2.14: Maxwell, Pascal or Volta."""
    return capability is not None and _OLDEST <= capability < _KEPT


def advise(capability: Capability | None) -> str:
    """Which torch to install for a card, as a clause."""
    if capability is not None and capability < _OLDEST:
        return "no torch that lazarus works with runs on this card: leave it and use the CPU"
    if is_dropped(capability):
        return (
            "PyTorch 2.14 built for CUDA 12.6 is the last that runs on Maxwell, Pascal and Volta: "
            f"{_LAST} from PyTorch's cu126 index, which its install page names"
        )
    return (
        "pip install --force-reinstall torch torchvision from the CUDA index that PyTorch's "
        "install page names for your system"
    )


def oldest_driver(cuda: str) -> int:
    """Major version of the oldest driver for a version of CUDA; 0 if unknown."""
    return _DRIVERS.get(int(cuda.partition(".")[0] or 0), 0)


def _runs(name: str, capability: Capability) -> bool:
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", name)
    if not found:
        return False
    built = int(found[2]), int(found[3])
    # sm_90a runs on 9.0 alone
    if found[4] == "a":
        return built == capability
    if found[1] == "compute":
        return built <= capability
    return built[0] == capability[0] and built <= capability
