"""What a user asks of the last training in a run."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_pl.data.split.split_spec import Side

# of the split, whose photos are trained on
REFIT_SIDES: tuple[Side, ...] = ("train", "val")


@dataclass(frozen=True)
class RefitOptions:
    """Whether there is one.

    Attributes:
        skip: Leave it out: the chosen model stays as it was trained on train alone.
    """

    skip: bool = False
