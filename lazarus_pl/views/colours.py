"""Changes of light and colour with OpenCV, as torchvision reckons them.

Levels differ from torchvision's by one of 256 at most, after a change of hue by up to four.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_LEVELS = np.arange(256, dtype=np.float64)
# ITU-R BT.601
_GREY = np.array([0.2989, 0.587, 0.114])


def brightness(photo: Pixels, factor: float) -> Pixels:
    """Levels times the factor, of RGB ``(H, W, 3)``."""
    return _looked_up(photo, _LEVELS * factor)


def contrast(photo: Pixels, factor: float) -> Pixels:
    """Levels moved away from the mean grey, or towards it."""
    mean = float(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).mean())
    return _looked_up(photo, _LEVELS * factor + mean * (1 - factor))


def saturation(photo: Pixels, factor: float) -> Pixels:
    """Levels moved away from the pixel's grey, or towards it."""
    mixing = factor * np.eye(3) + (1 - factor) * _GREY
    # OpenCV rounds, torchvision cuts off
    return np.asarray(cv2.transform(photo, np.column_stack([mixing, [-0.5] * 3])), np.uint8)


def hue(photo: Pixels, factor: float) -> Pixels:
    """Hues turned by a share of the circle, in steps of 1/256."""
    turned = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV_FULL)
    turned[..., 0] += np.uint8(round(factor * 256) % 256)
    return np.asarray(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB_FULL), np.uint8)


def _looked_up(photo: Pixels, levels: npt.NDArray[np.float64]) -> Pixels:
    return np.asarray(cv2.LUT(photo, np.clip(levels, 0, 255).astype(np.uint8)), np.uint8)
