"""The callbacks of a kind that a trainer has."""

from __future__ import annotations

from typing import Any, TypeVar

from lightning.pytorch import Callback, Trainer

_Kind = TypeVar("_Kind", bound=Callback)


def among_callbacks(trainer: Trainer, kind: type[_Kind]) -> list[_Kind]:
    """Those of a trainer's callbacks that are of a kind, in their order."""
    # Lightning sets it without declaring it
    callbacks: list[Any] = getattr(trainer, "callbacks", [])
    return [callback for callback in callbacks if isinstance(callback, kind)]
