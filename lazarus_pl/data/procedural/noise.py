"""Smooth random fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.float32]


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], octaves: int = 1
) -> Field:
    """Draws a field of about mean 0 and deviation 1: random values on a coarse lattice, enlarged.

    Args:
        rng: Source of the values.
        shape: Rows and columns of the field.
        cells: Rows and columns of the coarsest lattice.
        octaves: Lattices added up, each twice as fine and half as strong as the one before.
    """
    total = np.zeros(shape, dtype=np.float32)
    power = 0.0
    for octave in range(octaves):
        rows, columns = (
            min(count << octave, side) for count, side in zip(cells, shape, strict=True)
        )
        lattice = rng.standard_normal((rows + 1, columns + 1), dtype=np.float32)
        image = Image.fromarray(lattice).resize(shape[::-1], Image.Resampling.BICUBIC)
        total += np.asarray(image) * np.float32(0.5**octave)
        power += 0.25**octave
    return total / np.float32(0.75 * power**0.5)


def smoothstep(values: Field, low: float, high: float) -> Field:
    """0 below ``low``, 1 above ``high``, smooth between; falls instead where ``high < low``."""
    share: Field = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    share *= share * (3 - 2 * share)
    return share


def blend(
    under: npt.NDArray[np.float32], over: npt.ArrayLike, share: npt.NDArray[np.floating[Any]]
) -> None:
    """Mixes a colour into a picture in place: ``share`` 1 covers it."""
    under += (np.asarray(over, dtype=np.float32) - under) * share[..., None]
