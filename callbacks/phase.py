"""One step of a progressive unfreezing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

BatchNormPolicy = Literal["frozen", "statistics", "full"]


@dataclass(frozen=True)
class Phase:
    """What begins to train, and when.

    Args:
        at: Epoch at which the phase begins, or ``"plateau"``: when the metric stops to improve.
        patterns: Names of modules or parameters with ``*`` and ``?``; a module that matches trains
            with all in it.
        batch_norm: What the batch norms in it do. ``"frozen"``: evaluation mode, no gradients;
            right for batches under 32, and accumulation makes no batch larger. ``"statistics"``:
            running statistics follow the data, weight and bias stay. ``"full"``: all train.
        warmup_steps: Optimizer steps over which the learning rate of what is new grows to its own.

    Raises:
        ValueError: If a value makes no sense.

    Example:
        >>> Phase(at=0, patterns=("head",))
        Phase(at=0, patterns=('head',), batch_norm='frozen', warmup_steps=0)
    """

    at: int | Literal["plateau"]
    patterns: tuple[str, ...]
    batch_norm: BatchNormPolicy = "frozen"
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        """Refuses values without sense."""
        if isinstance(self.patterns, str):
            raise ValueError(f"patterns is a tuple of names: write ({self.patterns!r},)")
        object.__setattr__(self, "patterns", tuple(self.patterns))
        if not self.patterns:
            raise ValueError("a phase needs at least one pattern of names")
        if self.at != "plateau" and (not isinstance(self.at, int) or self.at < 0):
            raise ValueError(f"at is an epoch from 0 on or 'plateau', not {self.at!r}")
        if self.batch_norm not in ("frozen", "statistics", "full"):
            raise ValueError(
                f"batch_norm is 'frozen', 'statistics' or 'full', not {self.batch_norm!r}"
            )
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is 0 or more, not {self.warmup_steps}")

    def trains(self, name: str) -> bool:
        """Whether a module or parameter, or a module that it lies in, matches."""
        return any(
            fnmatchcase(part, pattern) for part in with_parents(name) for pattern in self.patterns
        )


def with_parents(name: str) -> Iterator[str]:
    """A dotted name and the names of all that it lies in, but the root."""
    while name:
        yield name
        name = name.rpartition(".")[0]
