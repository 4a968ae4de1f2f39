"""Grids of different sizes in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

_SHAPES = ".shapes"


@dataclass(frozen=True)
class RaggedGrids:
    """The cells of some photos' grids, one photo after the other.

    Attributes:
        cells: float16 ``(cells, C)``; of each photo row by row.
        shapes: int32 ``(photos, 2)``, rows and columns of each grid; 0 of a photo without one.

    Raises:
        ValueError: If the shapes do not say how many cells there are.
    """

    cells: npt.NDArray[np.float16]
    shapes: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        """Checks that both are of the same photos."""
        if (
            self.shapes.ndim != 2
            or self.shapes.shape[1] != 2
            or (self.shapes < 0).any()
            or self._starts[-1] != len(self.cells)
        ):
            raise ValueError("its cells are not those of its shapes")

    @classmethod
    def of(
        cls, photos: int, channels: int, grids: Mapping[int, npt.NDArray[np.float16]]
    ) -> RaggedGrids:
        """Puts grids one behind the other.

        Args:
            photos: How many there are, with those that have no grid.
            channels: Of a cell.
            grids: ``(H, W, C)`` by the photo's number, in ascending order.
        """
        shapes = np.zeros((photos, 2), dtype=np.int32)
        for number, grid in grids.items():
            shapes[number] = grid.shape[:2]
        cells = [grid.reshape(-1, channels) for grid in grids.values()]
        return cls(np.concatenate([np.zeros((0, channels), np.float16), *cells]), shapes)

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.shapes)

    def __getitem__(self, photo: int) -> npt.NDArray[np.float16]:
        """The grid ``(H, W, C)`` of one photo, not copied."""
        cells = self.cells[self._starts[photo] : self._starts[photo + 1]]
        rows, columns = self.shapes[photo]
        return cells.reshape(rows, columns, self.cells.shape[1])

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        counts = self.shapes.astype(np.int64).prod(axis=-1)
        return np.concatenate([[0], np.cumsum(counts)])


Layer = npt.NDArray[np.float16] | RaggedGrids


def as_members(layers: Mapping[str, Layer]) -> dict[str, npt.NDArray[Any]]:
    """Layers as arrays of a file; those of ragged grids are two each."""
    members: dict[str, npt.NDArray[Any]] = {}
    for name, layer in layers.items():
        if isinstance(layer, RaggedGrids):
            members |= {name: layer.cells, name + _SHAPES: layer.shapes}
        else:
            members[name] = layer
    return members


def as_layers(members: Mapping[str, npt.NDArray[Any]]) -> dict[str, Layer]:
    """Layers of the arrays that :func:`as_members` gave.

    Raises:
        ValueError: If cells and shapes do not fit each other.
    """
    return {
        name: RaggedGrids(values, members[name + _SHAPES]) if name + _SHAPES in members else values
        for name, values in members.items()
        if not name.endswith(_SHAPES)
    }


def values_of(layer: Layer) -> npt.NDArray[np.float16]:
    """All values of a layer, in whatever shape."""
    return layer.cells if isinstance(layer, RaggedGrids) else layer
