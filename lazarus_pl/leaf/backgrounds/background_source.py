"""What every source of backgrounds can do."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class BackgroundSource(Protocol):
    """Gives backgrounds without a leaf."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """One background, determined by the generator's state.

        Args:
            rng: Source of the choice and of everything drawn.
            shape: Rows and columns.

        Returns:
            RGB pixels ``(H, W, 3)``.
        """
        ...
