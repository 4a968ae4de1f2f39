"""How photos are divided into train, val and test."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from lazarus_pl.errors import LazarusError

Strategy = Literal["leaf", "grouped", "predefined", "random"]
Side = Literal["train", "val", "test", "unused"]
SIDES: tuple[Side, ...] = ("train", "val", "test")
UNUSED: Side = "unused"

_SYNONYMS = {
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "training": "train",
    "testing": "test",
}


@dataclass(frozen=True)
class SplitSpec:
    """What a user asks of the split.

    Attributes:
        strategy: ``leaf``: contiguous ranges of camera numbers a class and photographer, so that
            the photos of one leaf stay together; near-duplicate groups where names carry no
            numbers. ``grouped``: groups from ``regex`` or from the table's ``group`` column.
            ``predefined``: train, val and test folders, or the table's ``split`` column.
            ``random``: stratified, and flattering: photos of one leaf land on both sides.
        fractions: Shares of train, val and test.
        gap: Photos left unused at each border between two ranges of ``leaf``, about as many as
            there are of one leaf, and more where photos share a number; 0 uses every photo. A short
            range gives up less.
        regex: For ``grouped``: matched against the relative path; the group is the first capture
            group, or the whole match.
        seed: Draws the groups of ``grouped`` and ``random``.
    """

    strategy: Strategy = "leaf"
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    gap: int = 8
    regex: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            LazarusError: If one of them cannot be.
        """
        if self.strategy not in get_args(Strategy):
            raise LazarusError(
                f"unknown split strategy '{self.strategy}': use one of "
                f"{', '.join(get_args(Strategy))}"
            )
        train, val, test = self.fractions
        if min(train, val) <= 0 or test < 0 or abs(train + val + test - 1) > 1e-6:
            raise LazarusError(
                f"split fractions {train}, {val}, {test} must be positive (test may be 0) "
                "and add up to 1"
            )
        if self.gap < 0:
            raise LazarusError(f"split gap {self.gap} is negative: give a number of photos")
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise LazarusError(
                    f"split regex '{self.regex}' is no regular expression: {error}"
                ) from error

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that get photos."""
        return tuple(side for side, share in zip(SIDES, self.fractions, strict=True) if share > 0)

    def share(self, sides: Iterable[Side]) -> float:
        """Share of the photos that some sides have together; ``unused`` counts as none."""
        shares = dict(zip(SIDES, self.fractions, strict=True))
        return sum(shares.get(side, 0.0) for side in sides)


def split_name(text: str) -> str:
    """The side that a folder or a table names: ``valid`` and ``validation`` are ``val``."""
    name = text.strip().lower()
    return _SYNONYMS.get(name, name)
