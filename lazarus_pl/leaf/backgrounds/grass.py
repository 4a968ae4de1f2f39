"""A lawn or a meadow, green to straw-coloured."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from lazarus_pl.leaf.backgrounds.texture import Picture, colours, texture

_FRESH = np.array([0.24, 0.38, 0.12])
_DRY = np.array([0.6, 0.52, 0.3])
_SHADE = np.array([0.07, 0.09, 0.04])


def grass(rng: np.random.Generator, shape: tuple[int, int]) -> Picture:
    """Draws blades over their own shade, RGB from 0 to 1, ``(H, W, 3)``.

    Args:
        rng: Source of everything.
        shape: Rows and columns.
    """
    side = min(shape)
    dry = rng.beta(0.7, 1.4)
    tone = _FRESH * (1 - dry) + _DRY * dry
    under = texture(rng, shape, rng.uniform(6, 14), octaves=4, roughness=0.8)
    ground = colours(under, [0.5 * _SHADE, _SHADE, 0.35 * tone, 0.55 * tone, 0.7 * tone])
    count = int(rng.integers(260, 520))
    length = side * rng.uniform(0.12, 0.4)
    lean = rng.uniform(0, 2 * np.pi)
    spread = rng.uniform(0.25, 1.4)
    width = side * rng.uniform(0.006, 0.02)
    # later blades lie above, in more light
    blades = _blades(rng, shape, count, length, lean, spread, width)
    for number, blade in enumerate(blades):
        light = 0.45 + 0.65 * number / count + rng.uniform(-0.15, 0.15)
        shade = light * (tone + rng.normal(0, 0.05) * np.array([1, 0.6, 0.4]))
        cv2.fillConvexPoly(ground, blade, shade.tolist(), cv2.LINE_AA, shift=3)
    blur = rng.uniform(0, 0.006) * side
    if blur > 0.4:
        ground = cv2.GaussianBlur(ground, (0, 0), blur).astype(np.float32)
    return ground


def _blades(
    rng: np.random.Generator,
    shape: tuple[int, int],
    count: int,
    length: float,
    lean: float,
    spread: float,
    width: float,
) -> npt.NDArray[np.int32]:
    """Slender triangles with three bits of fraction, x before y, ``(N, 3, 2)``."""
    root = rng.uniform(-0.1, 1.1, (count, 2)) * (shape[1], shape[0])
    turn = lean + spread * rng.standard_normal(count)
    along = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    half = 0.5 * width * rng.uniform(0.5, 1.5, (count, 1))
    tip = root + along * length * rng.uniform(0.5, 1.4, (count, 1))
    blades = np.stack([root - across * half, root + across * half, tip], axis=1)
    return np.round(blades * 8).astype(np.int32)
