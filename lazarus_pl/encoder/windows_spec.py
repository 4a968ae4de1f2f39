"""How large photos are read in windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.decode import fitted, read_large, read_pixels
from lazarus_pl.encoder.sliding_windows import STRIDE, SlidingWindows
from lazarus_pl.in_range import check_count, check_share


@dataclass(frozen=True)
class WindowsSpec:
    """How finely large photos are read.

    Attributes:
        count: Windows along a photo's short side, as far as it has the pixels; 1 reads every photo
            as a whole, as one that is no larger than the encoder's input always is.
        overlap: Share of a window that the next one covers too, at least; 0 to below 1.
    """

    count: int = 1
    overlap: float = 0.25

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            LazarusError: If there cannot be so many windows, or not such an overlap.
        """
        check_count("windows.count", self.count)
        check_share("windows.overlap", self.overlap, whole=False)

    @classmethod
    def of(cls, encoder: Mapping[str, Any]) -> WindowsSpec:
        """How the photos of some features were read, from the encoder's identity beside them."""
        return cls(**encoder.get("windows", {}))

    def __str__(self) -> str:
        """As it stands in a sentence."""
        if self.count == 1:
            return "of whole photos"
        return f"of photos in {self.count} windows with an overlap of {self.overlap:g}"

    def read(
        self, photo: bytes, size: int, interpolation: str = "bicubic"
    ) -> npt.NDArray[np.uint8]:
        """Decodes a photo at the size at which its windows are cut.

        Args:
            photo: The file's content.
            size: Side of a window in pixels.
            interpolation: As of :func:`~lazarus_pl.data.decode.stretch`.

        Returns:
            RGB ``(S, S, 3)``, the whole photo; ``(H, W, 3)`` if it has the pixels for several
            windows.

        Raises:
            PhotoError: If it cannot be decoded.
        """
        if self.count == 1:
            return read_pixels(photo, size, interpolation)
        return read_large(photo, size, self.count, STRIDE, interpolation)

    def over(self, width: int, height: int, size: int) -> SlidingWindows:
        """The windows of one photo.

        Args:
            width: Of the photo in pixels.
            height: Of the photo in pixels.
            size: Side of a window in pixels.
        """
        across, down = fitted(width, height, size, self.count, STRIDE)
        return SlidingWindows((down, across), size, self.overlap)
