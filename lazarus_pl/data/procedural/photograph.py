"""A leaf laid on something, lit, and photographed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from lazarus_pl.data.procedural.leaf_blade import COLUMNS, ROWS, LeafBlade
from lazarus_pl.data.procedural.noise import Field, smooth_noise

Picture = npt.NDArray[np.float32]


class Photograph(NamedTuple):
    """A photo and the truth about it.

    Attributes:
        pixels: RGB uint8, ``(S, S, 3)``.
        leaf: Where the leaf is, bool ``(S, S)``.
        lesions: Where its symptoms are, bool ``(S, S)``.
    """

    pixels: npt.NDArray[np.uint8]
    leaf: npt.NDArray[np.bool_]
    lesions: npt.NDArray[np.bool_]


def photograph(leaf: LeafBlade, rng: np.random.Generator, size: int = 256) -> Photograph:
    """Photographs a leaf from its own angle, in its own light, on its own ground.

    Nothing here depends on the disease: neither background nor light gives it away.

    Args:
        leaf: What is photographed.
        rng: Source of everything else.
        size: Side of the photo in pixels.
    """
    view = _view(rng, size)
    alpha = _warped(leaf.alpha, view, size)
    colour = np.stack([_warped(leaf.colour[..., c], view, size) for c in range(3)], axis=-1)
    lesions = _warped(leaf.lesions * leaf.alpha, view, size)
    light = rng.uniform(0, 2 * np.pi)
    relief = _relief(_warped(leaf.height, view, size), light, rng)
    colour *= relief[..., None]
    ground = _background(rng, size)
    shadow = _shadow(alpha, light, rng)
    scene = ground * (1 - shadow[..., None])
    scene += (colour - scene) * alpha[..., None]
    return Photograph(_exposed(scene, rng), alpha > 0.5, (lesions > 0.5) & (alpha > 0.5))


def _view(rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    """A projective map from the photo's pixels to the leaf's canvas."""
    turn = rng.uniform(0, 2 * np.pi)
    scale = COLUMNS / (size * rng.uniform(0.78, 1.02))
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    shift = rng.uniform(-0.05, 0.05, 2) * size
    centre = size / 2 + shift
    squeeze = rng.uniform(1.0, 1.18)
    matrix = np.array([[cos, -sin * squeeze, 0], [sin, cos * squeeze, 0], [0, 0, 1.0]])
    matrix[:2, 2] = np.array([COLUMNS / 2, ROWS / 2]) - matrix[:2, :2] @ centre
    tilt = np.eye(3)
    tilt[2, :2] = rng.uniform(-0.12, 0.12, 2) / size
    to_centre, back = np.eye(3), np.eye(3)
    to_centre[:2, 2], back[:2, 2] = -centre, centre
    view: npt.NDArray[np.float64] = matrix @ back @ tilt @ to_centre
    view /= view[2, 2]
    return view


def _warped(field: Field, view: npt.NDArray[np.float64], size: int) -> Field:
    image = Image.fromarray(np.ascontiguousarray(field)).transform(
        (size, size),
        Image.Transform.PERSPECTIVE,
        tuple(view.ravel()[:8]),
        Image.Resampling.BILINEAR,
    )
    return np.array(image)


def _relief(height: Field, light: float, rng: np.random.Generator) -> Field:
    """Brightness of a surface lit from the side."""
    down, across = np.gradient(height, axis=0), np.gradient(height, axis=1)
    slope = np.float32(np.cos(light)) * across + np.float32(np.sin(light)) * down
    shine = np.float32(rng.uniform(0.1, 0.3))
    relief: Field = np.clip(1 + shine * slope, 0.5, 1.6)
    return relief


def _shadow(alpha: Field, light: float, rng: np.random.Generator) -> Field:
    size = len(alpha)
    distance = rng.uniform(0.008, 0.035) * size
    moved = np.roll(
        alpha, (round(distance * np.sin(light)), round(distance * np.cos(light))), (0, 1)
    )
    image = Image.fromarray((moved * 255).astype(np.uint8))
    soft = image.filter(ImageFilter.BoxBlur(rng.uniform(0.006, 0.02) * size))
    return np.asarray(soft, dtype=np.float32) * np.float32(rng.uniform(0.25, 0.65) / 255)


def _background(rng: np.random.Generator, size: int) -> Picture:
    shape = (size, size)
    kind = rng.integers(5)
    fine = smooth_noise(rng, shape, (size // 2, size // 2))[..., None]
    if kind == 0:  # paper or cloth
        base = rng.uniform(0.45, 0.92) * rng.uniform(0.93, 1.0, 3)
        ground = base + 0.008 * fine + 0.02 * smooth_noise(rng, shape, (2, 2))[..., None]
    elif kind == 1:  # soil
        grains = smooth_noise(rng, shape, (14, 14), octaves=4)[..., None]
        ground = (
            rng.uniform(0.7, 1.3) * np.array([0.31, 0.23, 0.16]) * (1 + 0.35 * grains + 0.1 * fine)
        )
    elif kind == 2:  # a table's wood
        cells = (3, 70) if rng.random() < 0.5 else (70, 3)
        grain = smooth_noise(rng, shape, cells, octaves=2)[..., None]
        ground = (
            rng.uniform(0.6, 1.2) * np.array([0.55, 0.4, 0.27]) * (1 + 0.14 * grain + 0.02 * fine)
        )
    elif kind == 3:  # other plants, out of focus
        clumps = smooth_noise(rng, shape, (5, 5), octaves=2)[..., None]
        tone = np.array([0.24, 0.34, 0.15]) * rng.uniform(0.6, 1.3)
        ground = tone * (1 + 0.45 * clumps) + 0.004 * fine
    else:  # concrete
        stains = smooth_noise(rng, shape, (4, 4), octaves=5)[..., None]
        ground = (
            rng.uniform(0.35, 0.7) * np.array([1.0, 0.98, 0.95]) * (1 + 0.1 * stains + 0.05 * fine)
        )
    picture: Picture = np.clip(ground, 0.01, 1).astype(np.float32)
    return picture


def _exposed(scene: Picture, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What the sensor makes of the scene: white balance, uneven light, blur, noise."""
    size = len(scene)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    direction = rng.uniform(0, 2 * np.pi)
    slope = np.float32(np.cos(direction)) * x + np.float32(np.sin(direction)) * y
    uneven = 1 + rng.uniform(0, 0.22) * slope - rng.uniform(0, 0.14) * (x * x + y * y)
    balance = (rng.uniform(0.82, 1.22) * rng.uniform(0.93, 1.07, 3)).astype(np.float32)
    grain = rng.standard_normal(scene.shape, dtype=np.float32) * rng.uniform(0.004, 0.018)
    exposed = scene * balance * uneven[..., None]
    if rng.random() < 0.4:
        blur = ImageFilter.BoxBlur(rng.uniform(0.3, 0.9))
        image = Image.fromarray((np.clip(exposed, 0, 1) * 255).astype(np.uint8))
        exposed = np.asarray(image.filter(blur), dtype=np.float32) / 255
    pixels: npt.NDArray[np.uint8] = (np.clip(exposed + grain, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels
