"""What a run may take."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_pl.pipeline.run.duration import read_duration


@dataclass(frozen=True)
class Budget:
    """Limits that late stages are shortened or left out for; what is scored is always scored whole.

    Attributes:
        time: Such as ``15min``, ``90s`` or ``1h``; null for as long as it takes.
    """

    time: str | None = None

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            LazarusError: If one of them cannot be.
        """
        if self.time is not None:
            read_duration(self.time)

    @property
    def seconds(self) -> float | None:
        """The time in seconds."""
        return None if self.time is None else read_duration(self.time)
