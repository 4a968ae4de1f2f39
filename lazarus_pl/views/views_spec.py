"""What a user asks of augmented views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from lazarus_pl.data.split.split_spec import Side
from lazarus_pl.errors import LazarusError


@dataclass(frozen=True)
class ViewsSpec:
    """How many views a photo gets, and what they show.

    Attributes:
        count: Views of every photo; 0 for none.
        policy: A YAML file of transforms, or the name of one that comes with lazarus: ``light``,
            ``field``.
        seed: Another seed gives other views.
        sides: Sides of the split whose photos get views; those of val are for a last training on
            train and val.
    """

    count: int = 0
    policy: str = "light"
    seed: int = 0
    sides: tuple[Side, ...] = ("train",)

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            LazarusError: If the count, the seed or the sides cannot be.
        """
        if self.count < 0:
            raise LazarusError(f"views.count {self.count} is negative: give a number of views")
        if self.seed < 0:
            raise LazarusError(f"views.seed {self.seed} is negative: give 0 or more")
        there = get_args(Side)
        known = sorted(set(self.sides) & set(there)) == sorted(self.sides)
        if not known or "train" not in self.sides:
            raise LazarusError(
                f"views.sides {list(self.sides)} cannot be: give some of {', '.join(there)}, train "
                "among them"
            )
