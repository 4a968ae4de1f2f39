"""Random fields from which grounds are made; fast, for one is drawn for every view."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Picture = npt.NDArray[np.float32]


def texture(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: float | tuple[float, float],
    octaves: int = 1,
    roughness: float = 0.5,
) -> Field:
    """Draws a smooth field of about mean 0 and deviation 1.

    Random values on lattices, each twice as fine as the one before, enlarged and added up.

    Args:
        rng: Source of the values.
        shape: Rows and columns of the field.
        cells: Cells of the coarsest lattice along the shorter side; or down and across.
        octaves: Number of lattices.
        roughness: Strength of each lattice against the one before.
    """
    across_short = min(shape)
    down, across = cells if isinstance(cells, tuple) else (cells, cells)
    total: Field = np.zeros(shape, dtype=np.float32)
    power = 0.0
    for octave in range(octaves):
        rows = _lattice(down * 2**octave * shape[0] / across_short, shape[0])
        columns = _lattice(across * 2**octave * shape[1] / across_short, shape[1])
        lattice = rng.standard_normal((rows, columns), dtype=np.float32)
        strength = roughness**octave
        total += np.float32(strength) * _enlarged(lattice, shape)
        power += strength**2
    total /= np.float32(0.9 * power**0.5)
    return total


def colours(values: Field, stops: npt.ArrayLike) -> Picture:
    """Colours a field: from the first stop at -1.5 to the last at 1.5, evenly between.

    Args:
        values: Of mean 0 and deviation 1, ``(H, W)``.
        stops: RGB of each stop, 0 to 1, ``(N, 3)``.
    """
    ramp = np.asarray(stops, dtype=np.float32)
    table = cv2.resize(ramp[None], (256, 1), interpolation=cv2.INTER_LINEAR)[0]
    places = np.clip(values * np.float32(255 / 3) + np.float32(127.5), 0, 255).astype(np.uint8)
    coloured: Picture = table[places]
    return coloured


def _lattice(cells: float, side: int) -> int:
    return max(2, min(side, round(cells) + 1))


def _enlarged(lattice: Field, shape: tuple[int, int]) -> Field:
    if lattice.shape == shape:
        return lattice
    enlarged: Field = cv2.resize(
        lattice, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC
    ).astype(np.float32, copy=False)
    return enlarged
