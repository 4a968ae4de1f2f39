"""What is answered for one photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

UNSURE = "unsure"
UNKNOWN = "not a known leaf"


@dataclass(frozen=True)
class Verdict:
    """Which classes a photo may be of, and how unlike the training photos it is.

    Attributes:
        candidates: Class indices of the prediction set, the likeliest first.
        distance: From the training photos; above 1 is farther than usual.
    """

    candidates: tuple[int, ...]
    distance: float

    @property
    def is_known(self) -> bool:
        """Whether the photo is like those of training: if not, it shows no leaf, or another one."""
        # not a number is no nearness
        return self.distance <= 1

    @property
    def label(self) -> int | None:
        """The class that is answered, or None where there is doubt."""
        return self.candidates[0] if self.is_known and len(self.candidates) == 1 else None

    def answer(self, class_names: Sequence[str]) -> str:
        """The class's name, ``unsure``, or ``not a known leaf``."""
        if not self.is_known:
            return UNKNOWN
        return UNSURE if self.label is None else class_names[self.label]
