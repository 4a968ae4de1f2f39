"""Where the leaf is, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

CONFIDENT = 0.5

_SOFT = 1.0


@dataclass(frozen=True)
class LeafMask:
    """One leaf in one photo.

    Attributes:
        mask: Where the leaf is, bool ``(H, W)``; lesions and holes within its outline belong to it.
        confidence: 0 to 1: how clearly the leaf stands off what surrounds it.
    """

    mask: npt.NDArray[np.bool_]
    confidence: float

    @property
    def coverage(self) -> float:
        """The leaf's share of the photo, 0 to 1."""
        return float(self.mask.mean())

    @property
    def is_confident(self) -> bool:
        """Whether the background may be swapped: at least :data:`CONFIDENT`."""
        return self.confidence >= CONFIDENT

    def alpha(self, softness: float = _SOFT) -> npt.NDArray[np.float32]:
        """Cover from 0 to 1 with a soft edge, float32 ``(H, W)``.

        The edge lies on the outline and a little inside it: what is outside was background.

        Args:
            softness: Deviation of the blur in pixels of a photo with a short side of 256; larger
                photos get a proportionally softer edge.

        Raises:
            ValueError: If the softness is not above 0.
        """
        if softness <= 0:
            raise ValueError(f"softness must be above 0, got {softness}")
        sigma = softness * max(min(self.mask.shape) / 256, 0.5)
        blurred = cv2.GaussianBlur(
            self.mask.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE
        )
        # a blurred step is 0.5 on the outline, 0.35 a third of a deviation outside it
        alpha: npt.NDArray[np.float32] = np.clip((blurred - 0.35) / 0.6, 0, 1)
        return alpha
