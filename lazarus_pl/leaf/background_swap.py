"""One leaf before another background."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from lazarus_pl.leaf.leaf_mask import LeafMask
from lazarus_pl.leaf.leaf_score import Field

Pixels = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float32]


def swap_background(
    pixels: Pixels, leaf: LeafMask, background: Pixels, rng: np.random.Generator
) -> Pixels:
    """Lays the leaf of a photo on another background.

    The edge is soft; along it the leaf's own colour is continued outwards, so that no rim of the
    old background stays. The background is brought part of the way to the leaf's brightness, and
    in half of the cases the leaf casts a soft shadow on it.

    Args:
        pixels: RGB uint8 ``(H, W, 3)``.
        leaf: The leaf in it, confident.
        background: RGB uint8 ``(H, W, 3)``, without a leaf.
        rng: Source of the shadow.

    Returns:
        Pixels ``(H, W, 3)``, unchanged inside the leaf.

    Raises:
        ValueError: If the mask is not confident, or sizes differ.
    """
    if not leaf.is_confident:
        raise ValueError(
            f"the background is swapped behind confident masks only, got {leaf.confidence:.2f}"
        )
    if not pixels.shape == background.shape == (*leaf.mask.shape, 3):
        raise ValueError(
            f"photo {pixels.shape}, mask {leaf.mask.shape} and background {background.shape} "
            "must be of one size"
        )
    alpha = leaf.alpha()
    ground = _harmonised(background.astype(np.float32), pixels[leaf.mask])
    if rng.random() < 0.5:
        ground *= (1 - _shadow(alpha, rng))[..., None]
    swapped = _without_rim(pixels, alpha)
    swapped -= ground
    swapped *= alpha[..., None]
    swapped += ground
    rounded: Pixels = np.clip(swapped + 0.5, 0, 255).astype(np.uint8)
    return rounded


def _harmonised(ground: Picture, leaf: Pixels) -> Picture:
    """Part of the way to the leaf's brightness: one sun shines on both."""
    gain = (float(leaf.mean()) + 8) / (float(ground.mean()) + 8)
    ground *= np.float32(gain**0.35)
    return ground


def _shadow(alpha: Field, rng: np.random.Generator) -> Field:
    """Share of light that the leaf takes, ``(H, W)``."""
    side = min(alpha.shape)
    turn, distance = rng.uniform(0, 2 * np.pi), side * rng.uniform(0.005, 0.05)
    move = np.array(
        [[1, 0, distance * np.cos(turn)], [0, 1, distance * np.sin(turn)]], dtype=np.float32
    )
    height, width = alpha.shape
    moved = cv2.warpAffine(alpha, move, (width, height))
    soft = cv2.GaussianBlur(moved, (0, 0), max(0.5, side * rng.uniform(0.005, 0.03)))
    shadow: Field = soft * np.float32(rng.uniform(0.15, 0.65))
    return shadow


def _without_rim(pixels: Pixels, alpha: Field) -> Picture:
    """The leaf's colours, continued from its inside over its edge."""
    photo = pixels.astype(np.float32)
    inside = (alpha >= 1).astype(np.float32)
    if not inside.any():
        return photo
    reach = max(1.0, min(alpha.shape) / 128)
    light = cv2.GaussianBlur(photo * inside[..., None], (0, 0), reach)
    weight = cv2.GaussianBlur(inside, (0, 0), reach)
    edge = (alpha > 0) & (alpha < 1) & (weight > 0.02)
    photo[edge] = light[edge] / weight[edge][:, None]
    return photo
