"""Flat things that leaves are laid on: paper, card, cloth, stone, wood."""

from __future__ import annotations

import cv2
import numpy as np

from lazarus_pl.leaf.backgrounds.texture import Field, Picture, texture

_TONES = np.array(
    [
        [0.93, 0.93, 0.92],
        [0.9, 0.87, 0.8],
        [0.68, 0.55, 0.4],
        [0.55, 0.55, 0.57],
        [0.42, 0.48, 0.6],
        [0.2, 0.2, 0.22],
        [0.75, 0.7, 0.72],
        [0.35, 0.42, 0.38],
    ],
    dtype=np.float32,
)
_WOODS = np.array(
    [[0.55, 0.4, 0.27], [0.72, 0.58, 0.42], [0.36, 0.25, 0.18], [0.5, 0.48, 0.45]],
    dtype=np.float32,
)


def paper(rng: np.random.Generator, shape: tuple[int, int]) -> Picture:
    """Draws a surface of one colour with its grain, RGB from 0 to 1, ``(H, W, 3)``.

    Args:
        rng: Source of everything.
        shape: Rows and columns.
    """
    surface = (_fibres, _weave, _stone, _wood)[rng.integers(4)]
    tones = _WOODS if surface is _wood else _TONES
    tone = tones[rng.integers(len(tones))] * np.float32(rng.uniform(0.85, 1.08))
    tone = tone + rng.normal(0, 0.02, 3).astype(np.float32)
    light = 1 + surface(rng, shape)
    if rng.random() < 0.3:
        light = light * _crease(rng, shape)
    ground: Picture = tone * light[..., None]
    return ground


def _fibres(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    fine = rng.standard_normal(shape, dtype=np.float32)
    stained = texture(rng, shape, rng.uniform(1.5, 5), octaves=3)
    felt: Field = cv2.GaussianBlur(fine, (0, 0), rng.uniform(0.5, 1.2)).astype(np.float32)
    return np.float32(rng.uniform(0.01, 0.06)) * felt + np.float32(rng.uniform(0, 0.04)) * stained


def _weave(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    pitch = min(shape) / rng.uniform(40, 90)
    warped = 0.15 * pitch * texture(rng, shape, 4, octaves=2)
    down = np.sin((np.arange(shape[0], dtype=np.float32)[:, None] + warped) * (2 * np.pi / pitch))
    across = np.sin((np.arange(shape[1], dtype=np.float32)[None] + warped) * (2 * np.pi / pitch))
    threads = texture(rng, shape, (3, 70)) + texture(rng, shape, (70, 3))
    weave: Field = (
        np.float32(rng.uniform(0.03, 0.1)) * np.maximum(down, across) + 0.03 * threads
    ).astype(np.float32)
    return weave


def _stone(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    stained = texture(rng, shape, rng.uniform(2, 6), octaves=5, roughness=0.65)
    grains = rng.standard_normal(shape, dtype=np.float32)
    speckled = np.float32(rng.uniform(0.01, 0.09)) * grains
    return np.float32(rng.uniform(0.03, 0.12)) * stained + speckled


def _wood(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    cells = (rng.uniform(1, 3), rng.uniform(12, 40))
    if rng.random() < 0.5:
        cells = (cells[1], cells[0])
    grain = texture(rng, shape, cells, octaves=3, roughness=0.8)
    pores = texture(rng, shape, (cells[0] * 6, cells[1] * 6))
    return np.float32(rng.uniform(0.05, 0.14)) * grain + 0.04 * pores


def _crease(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """A fold: one side of a line lies in other light."""
    turn = rng.uniform(0, np.pi)
    down = np.linspace(-0.5, 0.5, shape[0], dtype=np.float32)[:, None]
    across = np.linspace(-0.5, 0.5, shape[1], dtype=np.float32)[None]
    side = np.float32(np.sin(turn)) * down + np.float32(np.cos(turn)) * across
    step = np.clip((side - np.float32(rng.uniform(-0.3, 0.3))) * 60, -1, 1)
    crease: Field = 1 + np.float32(rng.uniform(0.01, 0.08)) * step
    return crease
