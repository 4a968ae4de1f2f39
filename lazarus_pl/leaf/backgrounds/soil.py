"""Earth, from dry sand to black mould, with stones and straw."""

from __future__ import annotations

import cv2
import numpy as np

from lazarus_pl.leaf.backgrounds.texture import Picture, texture

_EARTHS = np.array(
    [
        [0.30, 0.22, 0.15],
        [0.42, 0.32, 0.22],
        [0.52, 0.43, 0.32],
        [0.22, 0.18, 0.15],
        [0.45, 0.27, 0.17],
        [0.40, 0.37, 0.33],
    ],
    dtype=np.float32,
)


def soil(rng: np.random.Generator, shape: tuple[int, int]) -> Picture:
    """Draws earth lit from one side, RGB from 0 to 1, ``(H, W, 3)``.

    Args:
        rng: Source of everything.
        shape: Rows and columns.
    """
    height = texture(rng, shape, rng.uniform(4, 14), octaves=5, roughness=rng.uniform(0.55, 0.8))
    share = rng.dirichlet(np.full(len(_EARTHS), 0.4)).astype(np.float32)
    earth = share @ _EARTHS
    damp = texture(rng, shape, rng.uniform(1.5, 4), octaves=2)
    lit = _lit(height, rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.22))
    light = lit * (1 + np.float32(rng.uniform(0.03, 0.15)) * damp)
    ground: Picture = earth * light[..., None]
    if rng.random() < 0.5:
        _lay_stones(rng, ground)
    if rng.random() < 0.5:
        _lay_straw(rng, ground)
    return ground


def _lit(height: Picture, direction: float, strength: float) -> Picture:
    down = cv2.Sobel(height, cv2.CV_32F, 0, 1)
    across = cv2.Sobel(height, cv2.CV_32F, 1, 0)
    slope = np.float32(np.sin(direction)) * down + np.float32(np.cos(direction)) * across
    lit: Picture = np.clip(
        1 + np.float32(strength) * slope + np.float32(0.12) * height, 0.15, 2
    ).astype(np.float32)
    return lit


def _lay_stones(rng: np.random.Generator, ground: Picture) -> None:
    side = min(ground.shape[:2])
    for _ in range(int(rng.integers(6, 40))):
        centre = _place(rng, ground)
        axes = (side * rng.uniform(0.008, 0.035, 2) + 1).astype(int)
        turn = rng.uniform(0, 360)
        tone = rng.uniform(0.25, 0.65) * rng.uniform(0.92, 1.05, 3)
        drop = max(1, int(axes.min()) // 3)
        under = (centre[0] + drop, centre[1] + drop)
        _ellipse(ground, under, axes, turn, tone * 0.25)
        _ellipse(ground, centre, axes, turn, tone)
        top = (centre[0] - drop // 2, centre[1] - drop // 2)
        _ellipse(ground, top, np.maximum(axes * 2 // 3, 1), turn, tone * 1.15)


def _lay_straw(rng: np.random.Generator, ground: Picture) -> None:
    side = min(ground.shape[:2])
    for _ in range(int(rng.integers(5, 40))):
        column, row = _place(rng, ground)
        turn, length = rng.uniform(0, 2 * np.pi), side * rng.uniform(0.03, 0.22)
        end = (round(column + length * np.cos(turn)), round(row + length * np.sin(turn)))
        tone = rng.uniform(0.5, 1.1) * np.array([0.72, 0.6, 0.38])
        width = max(1, round(side * rng.uniform(0.002, 0.009)))
        cv2.line(ground, (column + 1, row + 2), (end[0] + 1, end[1] + 2), (0.1, 0.08, 0.06), width)
        cv2.line(ground, (column, row), end, tone.tolist(), width, cv2.LINE_AA)


def _ellipse(
    ground: Picture,
    centre: tuple[int, int],
    axes: np.typing.NDArray[np.integer],
    turn: float,
    tone: np.typing.NDArray[np.float64],
) -> None:
    size = (int(axes[0]), int(axes[1]))
    cv2.ellipse(ground, centre, size, turn, 0, 360, tone.tolist(), cv2.FILLED, cv2.LINE_AA)


def _place(rng: np.random.Generator, ground: Picture) -> tuple[int, int]:
    return int(rng.integers(ground.shape[1])), int(rng.integers(ground.shape[0]))
