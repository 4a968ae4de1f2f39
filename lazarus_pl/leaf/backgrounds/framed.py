"""Any picture to a background of a wanted shape."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def framed(picture: Pixels, rng: np.random.Generator, shape: tuple[int, int]) -> Pixels:
    """Cuts a random part of a picture, mirrors it at random, and enlarges or reduces it.

    Args:
        picture: RGB pixels of any size, ``(H, W, 3)``.
        rng: Source of the part and of the mirroring.
        shape: Rows and columns wanted.

    Returns:
        RGB pixels of the shape, not distorted.
    """
    height, width = picture.shape[:2]
    scale = min(height / shape[0], width / shape[1]) * rng.uniform(0.6, 1.0)
    rows, columns = max(1, int(shape[0] * scale)), max(1, int(shape[1] * scale))
    top = int(rng.integers(height - rows + 1))
    left = int(rng.integers(width - columns + 1))
    part = picture[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    kind = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    size = (shape[1], shape[0])
    resized = cv2.resize(np.ascontiguousarray(part), size, interpolation=kind)
    return resized.astype(np.uint8, copy=False)
