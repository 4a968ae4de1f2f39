"""The probes, in the order in which they run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

Facts = dict[str, Any]

_PACKAGE = "lazarus_pl.audit.doctor.probe"


class Stage(NamedTuple):
    """A probe: a function ``module:name`` of this package, and the stages that it needs.

    The function returns attributes of :class:`~lazarus_pl.audit.doctor.machine.Machine` in JSON's
    types, and may raise anything.
    """

    function: str
    needs: tuple[str, ...] = ()

    def probe(self) -> Facts:
        """Gathers the facts."""
        module, function = self.function.split(":")
        probe: Callable[[], Facts] = getattr(
            importlib.import_module(f"{_PACKAGE}.{module}"), function
        )
        return probe()


STAGES = {
    "python": Stage("system:python"),
    "cores": Stage("system:cores"),
    "memory": Stage("system:memory"),
    "packages": Stage("packages:packages"),
    "cards": Stage("cards:cards"),
    "decode": Stage("speed:decode"),
    "packaged weights": Stage("weights:packaged"),
    "hub weights": Stage("weights:hub"),
    "torch": Stage("torch_build:torch_build"),
    "cuda": Stage("torch_build:cuda", needs=("torch",)),
    "torchvision": Stage("torch_build:torchvision", needs=("torch",)),
    "timm": Stage("torch_build:timm", needs=("torch",)),
    "encoder": Stage("speed:encoder", needs=("torch", "timm")),
    "precision": Stage("precision:precision", needs=("torch", "timm", "encoder")),
}
