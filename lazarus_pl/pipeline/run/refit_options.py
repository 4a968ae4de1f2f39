"""What a user asks of the trainings after the choice in a run."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_pl.data.split.split_spec import SIDES, UNUSED, Side
from lazarus_pl.errors import LazarusError

# of the split, whose photos are trained on: before test is read, and after it
BEFORE_TEST: tuple[Side, ...] = ("train", "val")
ALL_PHOTOS: tuple[Side, ...] = (*SIDES, UNUSED)


@dataclass(frozen=True)
class RefitOptions:
    """On which photos the chosen model is trained again.

    Attributes:
        skip: Leave it out: the chosen model stays as it was trained on train alone.
        all_photos: After test has been read, train once more on all photos: ``deploy.ckpt``,
            for photos to come. What is known of it is what test says of the same training on
            fewer.
    """

    skip: bool = False
    all_photos: bool = False

    def __post_init__(self) -> None:
        """Checks that both can be had.

        Raises:
            LazarusError: If the second training is to follow a first one that is left out.
        """
        if self.skip and self.all_photos:
            raise LazarusError(
                "--refit.all_photos trains once more what --refit.skip leaves out: give one of them"
            )

    @property
    def trainings(self) -> list[tuple[Side, ...]]:
        """The sides that each of them learns from."""
        return [] if self.skip else [BEFORE_TEST, ALL_PHOTOS][: 1 + self.all_photos]
