"""Simple scenes whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

GREY = (150, 146, 156)
BLACK = (0, 0, 0)
GREEN = (80, 125, 50)
BROWN = (120, 85, 55)


def leaf_scene(
    ground: tuple[int, int, int] = GREY,
    shape: tuple[int, int] = (256, 256),
    lesions: int = 6,
    shadow: bool = False,
    seed: int = 0,
) -> tuple[Pixels, Bools]:
    """An ellipse of leaf with brown and grey lesions, grainy, on one ground."""
    rng = np.random.default_rng(seed)
    height, width = shape
    scene = np.full((height, width, 3), ground, dtype=np.float32)
    centre, axes = (width // 2, height // 2), (round(width * 0.3), round(height * 0.38))
    if shadow:
        beside = (centre[0] + width // 14, centre[1] + height // 18)
        cast = np.zeros(shape, dtype=np.float32)
        cv2.ellipse(cast, beside, axes, 20, 0, 360, 1.0, cv2.FILLED)
        scene *= 1 - 0.75 * cv2.GaussianBlur(cast, (0, 0), 3)[..., None]
    cover = np.zeros(shape, dtype=np.uint8)
    cv2.ellipse(cover, centre, axes, 20, 0, 360, 1, cv2.FILLED)
    leaf = cover > 0
    scene[leaf] = GREEN
    for number in range(lesions):
        turn = 2 * np.pi * number / max(lesions, 1)
        place = (
            round(centre[0] + 0.45 * axes[0] * np.cos(turn)),
            round(centre[1] + 0.45 * axes[1] * np.sin(turn)),
        )
        tone = BROWN if number % 2 else GREY
        cv2.circle(scene, place, max(2, min(shape) // 22), tone, cv2.FILLED)
    scene *= 1 + 0.05 * rng.standard_normal((height, width, 1), dtype=np.float32)
    soft = cv2.GaussianBlur(scene, (0, 0), 0.7)
    return np.clip(soft, 0, 255).astype(np.uint8), leaf


def frame_filling_leaf(seed: int = 0) -> Pixels:
    """Green with veins and light from one side, to every border."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:256, 0:256].astype(np.float32) / 256
    light = 0.7 + 0.4 * across + 0.06 * np.sin(60 * (down + 0.3 * across))
    light += 0.05 * rng.standard_normal((256, 256), dtype=np.float32)
    return np.clip(np.array(GREEN) * light[..., None], 0, 255).astype(np.uint8)


def iou(found: Bools, truth: Bools) -> float:
    """Intersection over union."""
    return float((found & truth).sum() / (found | truth).sum())
