"""Backgrounds from what surrounds the leaves of other photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.decode import PhotoError
from lazarus_pl.errors import LazarusError
from lazarus_pl.leaf.backgrounds.background_source import BackgroundSource
from lazarus_pl.leaf.backgrounds.framed import framed
from lazarus_pl.leaf.backgrounds.procedural_backgrounds import ProceduralBackgrounds
from lazarus_pl.leaf.backgrounds.reduced import reduced
from lazarus_pl.leaf.find_leaf import find_leaf
from lazarus_pl.leaf.surroundings import surroundings

_TRIES = 8


class SurroundingBackgrounds:
    """Other photos with their leaves taken out.

    Where the background gives the class away, as it does where each class was photographed in its
    own place, this mixes the places.

    Args:
        donors: Photos whose surroundings may be shown: of the train side only.
        otherwise: Draws where no donor in a row of eight has a confident mask; drawn backgrounds by
            default.

    Raises:
        LazarusError: If there is no donor.
    """

    def __init__(self, donors: Sequence[Path], otherwise: BackgroundSource | None = None) -> None:
        if not donors:
            raise LazarusError("backgrounds from other photos need at least one photo to take from")
        self.donors = list(donors)
        self.otherwise = otherwise or ProceduralBackgrounds()

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The surroundings of one donor.

        Args:
            rng: Determines which.
            shape: Rows and columns.

        Returns:
            RGB pixels ``(H, W, 3)``.
        """
        for _ in range(_TRIES):
            path = self.donors[int(rng.integers(len(self.donors)))]
            try:
                photo = reduced(path, max(shape))
            except PhotoError:
                # the scan has put it in the quarantine with its reason
                continue
            leaf = find_leaf(photo)
            without = None if leaf is None else surroundings(photo, leaf)
            if without is not None:
                return framed(without, rng, shape)
        return self.otherwise.draw(rng, shape)
