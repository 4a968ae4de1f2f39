"""How much of a leaf is ill."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from lazarus_pl.leaf.find_leaf import find_leaf

_SIDE = 128


def severity(lesions: npt.NDArray[np.float32], pixels: npt.NDArray[np.uint8]) -> float:
    """The share of the leaf that speaks for the disease rather than for sound tissue, 0 to 1.

    Where no leaf stands off its background, the share of the whole photo.

    Args:
        lesions: Log-odds ``(H, W)`` over the whole photo.
        pixels: The photo, RGB uint8 ``(S, S, 3)``.
    """
    found = find_leaf(pixels)
    leaf = np.ones(pixels.shape[:2], np.float32) if found is None else found.mask.astype(np.float32)
    size = (_SIDE, _SIDE)
    cover = cv2.resize(leaf, size, interpolation=cv2.INTER_AREA)
    marked = cv2.resize(lesions, size, interpolation=cv2.INTER_LINEAR) > 0
    return float((cover * marked).sum() / max(float(cover.sum()), 1e-6))
