"""Where an array lies in a file."""

from __future__ import annotations

from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt


class NpzMember(NamedTuple):
    """One array of an aligned ``.npz``.

    Attributes:
        start: Of its values, in bytes from the file's beginning.
        dtype: Of its values.
        shape: Of the array.
        order: Of its values in the file.
    """

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    def of(self, view: memoryview) -> npt.NDArray[Any]:
        """The array in the mapped file, not copied.

        Raises:
            ValueError: If the file ends before it.
        """
        end = self.start + self.dtype.itemsize * prod(self.shape)
        if end > len(view):
            raise ValueError("cut short")
        array = np.frombuffer(view[self.start : end], dtype=self.dtype)
        return array.reshape(self.shape, order=self.order)
