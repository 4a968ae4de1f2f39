"""What a user asks of augmented views."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_pl.errors import LazarusError


@dataclass(frozen=True)
class ViewsSpec:
    """How many views a photo gets, and what they show.

    Attributes:
        count: Views of every photo; 0 for none.
        policy: A YAML file of transforms, or the name of one that comes with lazarus: ``light``,
            ``field``.
        seed: Another seed gives other views.
    """

    count: int = 0
    policy: str = "light"
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            LazarusError: If the count or the seed cannot be.
        """
        if self.count < 0:
            raise LazarusError(f"views.count {self.count} is negative: give a number of views")
        if self.seed < 0:
            raise LazarusError(f"views.seed {self.seed} is negative: give 0 or more")
