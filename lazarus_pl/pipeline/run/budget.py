"""What a run may take."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_pl.duration import read_duration
from lazarus_pl.memory_amount import read_memory


@dataclass(frozen=True)
class Budget:
    """Limits of a run; what is scored is always scored whole.

    Attributes:
        time: Such as ``15min``, ``90s`` or ``1h``, for which late stages are shortened or left out;
            null for as long as it takes.
        gpu_memory: Such as ``4GB``, for which training takes its batches in parts, with the same
            results; null for what there is.
    """

    time: str | None = None
    gpu_memory: str | None = None

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            LazarusError: If one of them cannot be.
        """
        if self.time is not None:
            read_duration(self.time)
        if self.gpu_memory is not None:
            read_memory(self.gpu_memory)

    @property
    def seconds(self) -> float | None:
        """The time in seconds."""
        return None if self.time is None else read_duration(self.time)

    @property
    def gpu_bytes(self) -> int | None:
        """The memory in bytes."""
        return None if self.gpu_memory is None else read_memory(self.gpu_memory)
