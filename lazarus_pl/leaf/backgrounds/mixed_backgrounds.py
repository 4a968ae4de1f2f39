"""Several sources of backgrounds as one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lazarus_pl.errors import LazarusError
from lazarus_pl.leaf.backgrounds.background_source import BackgroundSource


class MixedBackgrounds:
    """Draws from one of several sources, each as often as its weight says.

    Args:
        sources: Each with its weight, relative to the others.

    Raises:
        LazarusError: If there is no source, a weight is below 0, or none is above 0.
    """

    def __init__(self, sources: Sequence[tuple[BackgroundSource, float]]) -> None:
        weights = [weight for _, weight in sources]
        if not (sources and min(weights) >= 0 and 0 < sum(weights) < math.inf):
            raise LazarusError("backgrounds need weights of 0 and above, one of them above 0")
        self.sources = [source for source, _ in sources]
        self.shares = np.array(weights) / sum(weights)

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """One background of one of the sources.

        Args:
            rng: Determines both.
            shape: Rows and columns.

        Returns:
            RGB pixels ``(H, W, 3)``.
        """
        source = self.sources[int(rng.choice(len(self.sources), p=self.shares))]
        return source.draw(rng, shape)
