"""Vegetation far out of focus, with discs of light."""

from __future__ import annotations

import cv2
import numpy as np

from lazarus_pl.leaf.backgrounds.texture import Picture, colours, texture

_TONES = np.array(
    [
        [0.05, 0.08, 0.03],
        [0.14, 0.25, 0.08],
        [0.25, 0.38, 0.15],
        [0.42, 0.52, 0.24],
        [0.33, 0.42, 0.36],
        [0.35, 0.28, 0.18],
        [0.62, 0.6, 0.45],
        [0.75, 0.8, 0.8],
    ],
    dtype=np.float32,
)


def bokeh(rng: np.random.Generator, shape: tuple[int, int]) -> Picture:
    """Draws blurred foliage, branches, earth and sky, RGB from 0 to 1, ``(H, W, 3)``.

    Args:
        rng: Source of everything.
        shape: Rows and columns.
    """
    small = (max(2, shape[0] // 2), max(2, shape[1] // 2))
    side = min(small)
    chosen = rng.choice(len(_TONES), size=4, replace=False, p=_likely())
    tones = _TONES[np.sort(chosen)] * rng.uniform(0.8, 1.2, (4, 1)).astype(np.float32)
    scene = colours(texture(rng, small, rng.uniform(1.5, 7), octaves=2), tones)
    for _ in range(int(rng.integers(0, 5))):
        _lay_branch(rng, scene)
    focus = rng.uniform(0.02, 0.06) * side
    scene = cv2.GaussianBlur(scene, (0, 0), focus).astype(np.float32)
    _light_discs(rng, scene, radius=focus * rng.uniform(1.0, 2.5))
    ground: Picture = cv2.resize(
        scene, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR
    ).astype(np.float32)
    return ground


def _likely() -> np.typing.NDArray[np.float64]:
    weights = np.array([1.0, 2.0, 2.0, 1.5, 1.0, 1.2, 0.7, 0.5])
    likely: np.typing.NDArray[np.float64] = weights / weights.sum()
    return likely


def _lay_branch(rng: np.random.Generator, scene: Picture) -> None:
    height, width = scene.shape[:2]
    ends = (rng.uniform(-0.2, 1.2, (2, 2)) * (width, height)).astype(int).tolist()
    tone = (_TONES[rng.integers(len(_TONES))] * rng.uniform(0.7, 1.3)).tolist()
    thick = max(1, round(min(height, width) * rng.uniform(0.01, 0.09)))
    cv2.line(scene, ends[0], ends[1], tone, thick, cv2.LINE_AA)


def _light_discs(rng: np.random.Generator, scene: Picture, radius: float) -> None:
    height, width = scene.shape[:2]
    discs = np.zeros_like(scene)
    for _ in range(int(rng.integers(0, 40))):
        row, column = int(rng.integers(height)), int(rng.integers(width))
        bright = scene[row, column] * rng.uniform(0.2, 0.8) + rng.uniform(0.0, 0.1)
        size = max(1, round(radius * rng.uniform(0.7, 1.3)))
        disc = np.zeros((1, 1, 3), dtype=np.float32)
        disc += bright
        top, left = max(0, row - size), max(0, column - size)
        window = discs[top : row + size + 1, left : column + size + 1]
        alone = np.zeros(window.shape[:2], dtype=np.float32)
        cv2.circle(alone, (column - left, row - top), size, 1.0, cv2.FILLED, cv2.LINE_AA)
        window += alone[..., None] * disc
    scene += cv2.GaussianBlur(discs, (0, 0), max(0.6, radius * 0.12))
