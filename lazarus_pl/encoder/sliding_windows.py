"""A large photo in overlapping squares, and their grids as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

# cells of every grid begin where a window may begin
STRIDE = 32


@dataclass(frozen=True)
class SlidingWindows:
    """Squares that cover a photo; where they overlap, their cells are averaged.

    Attributes:
        shape: Height and width of the photo in pixels: those of one window, or multiples of 32,
            each at least ``size``.
        size: Side of a window in pixels, a multiple of 32 where there are several.
        overlap: Share of a window that the next one covers too, at least.

    Raises:
        ValueError: If the sizes or the overlap cannot be.
    """

    shape: tuple[int, int]
    size: int
    overlap: float = 0.25

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.shape != (self.size, self.size) and any(
            side % STRIDE or side < self.size for side in (*self.shape, self.size)
        ):
            raise ValueError(f"{self.shape} cannot be covered by squares of {self.size}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"an overlap of {self.overlap} cannot be")

    @property
    def places(self) -> list[tuple[int, int]]:
        """Top and left of every window."""
        rows, columns = map(self._starts, self.shape)
        return [(top, left) for top in rows for left in columns]

    def grid_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the whole photo's layer, of which a window has ``(C,)`` or ``(h, w, C)``."""
        if len(shape) == 1:
            return shape
        cell = self.size // shape[0]
        return (self.shape[0] // cell, self.shape[1] // cell, shape[2])

    def values(self, shapes: Iterable[tuple[int, ...]]) -> int:
        """How many numbers the photo's layers are, of which a window has these shapes."""
        return sum(prod(self.grid_shape(shape)) for shape in shapes)

    def cut(self, pixels: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
        """Views ``(size, size, 3)`` of a photo ``(*shape, 3)``, one a window; nothing is copied."""
        for top, left in self.places:
            yield pixels[top : top + self.size, left : left + self.size]

    def join(
        self, windows: Sequence[Mapping[str, npt.NDArray[np.float16]]]
    ) -> Mapping[str, npt.NDArray[np.float16]]:
        """Layers of the whole photo from those of its windows, in the order of :meth:`cut`.

        Grids ``(h, w, C)`` are stitched; of a vector ``(C,)`` it is the mean over the windows, so
        what two windows see counts twice.
        """
        if len(windows) == 1:
            return windows[0]
        stacked = {name: np.stack([each[name] for each in windows]) for name in windows[0]}
        return {
            name: self.stitch(values)
            if values.ndim == 4
            else values.mean(axis=0, dtype=np.float32).astype(np.float16)
            for name, values in stacked.items()
        }

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
