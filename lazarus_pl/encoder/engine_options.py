"""How a user asks for an encoder to be run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lazarus_pl.encoder.precision import Precision
from lazarus_pl.errors import LazarusError

EngineName = Literal["auto", "torch", "openvino"]


@dataclass(frozen=True)
class EngineOptions:
    """What is asked of an engine, checked as far as that goes without torch.

    Attributes:
        device: ``auto``, or a device as torch names it.
        precision: ``auto``, ``32``, ``bf16`` or ``16``.
        batch_size: Photos at once.
        engine: ``torch``, ``openvino``, or ``auto`` for the faster one.
    """

    device: str = "auto"
    precision: Precision = "auto"
    batch_size: int = 8
    engine: EngineName = "auto"

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            LazarusError: If the precision, the engine or the batch size cannot be.
        """
        check_engine_options(self.precision, self.batch_size, self.engine)


def check_engine_options(precision: str, batch_size: int, engine: str = "auto") -> None:
    """Checks values of :class:`EngineOptions`.

    Raises:
        LazarusError: If the precision, the engine or the batch size cannot be.
    """
    _check_choice("precision", precision, get_args(Precision))
    _check_choice("engine", engine, get_args(EngineName))
    if batch_size < 1:
        raise LazarusError(f"batch_size {batch_size} must be at least 1")


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise LazarusError(f"there is no {what} '{value}': use one of {', '.join(choices)}")
