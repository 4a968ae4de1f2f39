"""A large photo in overlapping squares, and their grids as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# cells of every grid begin where a window may begin
STRIDE = 32


@dataclass(frozen=True)
class SlidingWindows:
    """Squares that cover a photo; where they overlap, their cells are averaged.

    Attributes:
        shape: Height and width of the photo in pixels, multiples of 32, each at least ``size``.
        size: Side of a window in pixels, a multiple of 32.
        overlap: Share of a window that the next one covers too, at least.

    Raises:
        ValueError: If the sizes or the overlap cannot be.
    """

    shape: tuple[int, int]
    size: int
    overlap: float = 0.25

    def __post_init__(self) -> None:
        """Checks the values."""
        if any(side % STRIDE or side < self.size for side in (*self.shape, self.size)):
            raise ValueError(f"{self.shape} cannot be covered by squares of {self.size}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"an overlap of {self.overlap} cannot be")

    @property
    def places(self) -> list[tuple[int, int]]:
        """Top and left of every window."""
        rows, columns = map(self._starts, self.shape)
        return [(top, left) for top in rows for left in columns]

    def cut(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Windows ``(N, size, size, 3)`` of a photo ``(*shape, 3)``."""
        return np.stack(
            [pixels[top : top + self.size, left : left + self.size] for top, left in self.places]
        )

    def stitch(self, grids: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
        """One grid ``(H, W, C)`` over the whole photo of its windows' grids ``(N, h, w, C)``."""
        cell = self.size // grids.shape[1]
        shape = (self.shape[0] // cell, self.shape[1] // cell)
        total = np.zeros((*shape, grids.shape[-1]), dtype=np.float32)
        times = np.zeros((*shape, 1), dtype=np.float32)
        side = grids.shape[1]
        for grid, (top, left) in zip(grids, self.places, strict=True):
            place = (
                slice(top // cell, top // cell + side),
                slice(left // cell, left // cell + side),
            )
            total[place] += grid
            times[place] += 1
        return np.asarray(total / times, dtype=np.float16)

    def _starts(self, length: int) -> list[int]:
        step = max(STRIDE, int(self.size * (1 - self.overlap)) // STRIDE * STRIDE)
        return [*range(0, length - self.size, step), length - self.size]
