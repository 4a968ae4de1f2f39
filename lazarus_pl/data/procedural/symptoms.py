"""What each disease does to a leaf."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.procedural.leaf_blade import COLUMNS, ROWS, LeafBlade
from lazarus_pl.data.procedural.noise import Field, blend, smooth_noise, smoothstep

Colour = tuple[float, float, float]

_YELLOW: Colour = (0.72, 0.66, 0.17)
_REACH = 2.2


class _Spot:
    """A window of the leaf around one spot, and how far from its centre each pixel is."""

    def __init__(
        self, leaf: LeafBlade, place: tuple[int, int], radius: float, ragged: Field, stretch: float
    ) -> None:
        half = int(np.ceil(radius * _REACH * max(stretch, 1.0)))
        row, column = place
        rows = slice(max(0, row - half), min(ROWS, row + half + 1))
        columns = slice(max(0, column - half), min(COLUMNS, column + half + 1))
        y, x = np.mgrid[rows, columns].astype(np.float32)
        distance = np.hypot((x - column) / stretch, y - row) / np.float32(radius)
        self.window = rows, columns
        self.rho: Field = distance + ragged[rows, columns]
        self._leaf = leaf

    def tint(self, colour: Colour, share: Field) -> None:
        blend(self._leaf.colour[self.window], colour, share)

    def mark(self, share: Field) -> None:
        lesions = self._leaf.lesions[self.window]
        np.maximum(lesions, share, out=lesions)


def bacterial_spot(leaf: LeafBlade, rng: np.random.Generator) -> None:
    """Many small, dark, angular, water-soaked spots with a thin yellow rim."""
    ragged = _ragged(rng, 0.35, cells=30)
    for place in leaf.scattered(rng, int(rng.integers(18, 75))):
        spot = _Spot(leaf, place, rng.uniform(1.9, 5.0), ragged, rng.uniform(0.8, 1.35))
        core = smoothstep(spot.rho, 1.1, 0.85)
        spot.tint(_YELLOW, 0.55 * smoothstep(spot.rho, 1.9, 1.0))
        spot.tint(_shade(rng, (0.13, 0.09, 0.06)), 0.93 * core)
        spot.tint((0.36, 0.3, 0.22), 0.5 * smoothstep(spot.rho, 0.45, 0.1))
        spot.mark(core)


def early_blight(leaf: LeafBlade, rng: np.random.Generator) -> None:
    """A few large brown lesions with concentric rings, in a yellow halo."""
    ragged = _ragged(rng, 0.13, cells=12)
    for place in leaf.scattered(rng, int(rng.integers(2, 8)), reach=0.8):
        radius = rng.uniform(8, 26)
        spot = _Spot(leaf, place, radius, ragged, rng.uniform(0.85, 1.2))
        core = smoothstep(spot.rho, 1.08, 0.95)
        rings = 0.5 + 0.5 * np.cos(2 * np.pi * spot.rho * np.float32(max(2.5, radius / 4.2)))
        spot.tint(_YELLOW, rng.uniform(0.35, 0.75) * smoothstep(spot.rho, 1.9, 1.0))
        spot.tint(_shade(rng, (0.42, 0.29, 0.16)), 0.95 * core)
        spot.tint((0.2, 0.13, 0.08), 0.7 * core * rings)
        spot.tint((0.16, 0.1, 0.06), smoothstep(spot.rho, 0.25, 0.1))
        spot.mark(core)


def late_blight(leaf: LeafBlade, rng: np.random.Generator) -> None:
    """One to three large, dark, greasy blotches from the margin, with a pale, downy edge."""
    ragged = _ragged(rng, 0.22, cells=7)
    down = smooth_noise(rng, (ROWS, COLUMNS), (60, 80))
    mottled = smooth_noise(rng, (ROWS, COLUMNS), (12, 16), octaves=3)
    for _ in range(int(rng.integers(1, 4))):
        row, column = _on_margin(leaf, rng)
        spot = _Spot(leaf, (row, column), rng.uniform(22, 62), ragged, rng.uniform(0.9, 1.5))
        core = smoothstep(spot.rho, 1.03, 0.93)
        rim = smoothstep(spot.rho, 1.25, 1.02) * (1 - core)
        spot.tint((0.5, 0.55, 0.33), 0.6 * rim)
        spot.tint(_shade(rng, (0.21, 0.17, 0.1)), 0.92 * core)
        spot.tint((0.34, 0.26, 0.15), 0.5 * core * smoothstep(mottled[spot.window], 0.0, 1.2))
        fuzz = rim * smoothstep(down[spot.window], 0.2, 1.0)
        spot.tint((0.85, 0.86, 0.82), rng.uniform(0.2, 0.7) * fuzz)
        spot.mark(core)


def rust(leaf: LeafBlade, rng: np.random.Generator) -> None:
    """Very many tiny orange pustules that stand out of the surface."""
    ragged = _ragged(rng, 0.25, cells=40)
    colour = _shade(rng, (0.68, 0.33, 0.08))
    for place in leaf.scattered(rng, int(rng.integers(45, 200)), reach=0.96):
        spot = _Spot(leaf, place, rng.uniform(1.2, 2.9), ragged, rng.uniform(1.0, 1.7))
        core = smoothstep(spot.rho, 1.15, 0.75)
        spot.tint(_YELLOW, 0.35 * smoothstep(spot.rho, 2.1, 1.0))
        spot.tint((0.35, 0.15, 0.05), 0.7 * smoothstep(spot.rho, 1.35, 0.95))
        spot.tint(colour, 0.95 * core)
        leaf.height[spot.window] += 1.6 * core
        spot.mark(core)


def powdery_mildew(leaf: LeafBlade, rng: np.random.Generator) -> None:
    """White, floury patches with soft borders, under which the leaf shows."""
    ragged = _ragged(rng, 0.3, cells=14)
    flour = smoothstep(smooth_noise(rng, (ROWS, COLUMNS), (70, 90), octaves=2), -1.4, 0.9)
    cover = rng.uniform(0.5, 0.88)
    for place in leaf.scattered(rng, int(rng.integers(4, 16))):
        spot = _Spot(leaf, place, rng.uniform(8, 27), ragged, rng.uniform(0.8, 1.4))
        soft = smoothstep(spot.rho, 1.15, 0.45)
        spot.tint((0.85, 0.87, 0.83), cover * soft * (0.45 + 0.55 * flour[spot.window]))
        spot.mark(smoothstep(spot.rho, 0.95, 0.75))


def mosaic(leaf: LeafBlade, rng: np.random.Generator) -> None:
    """Light and dark green patches between the veins, and a blistered surface."""
    shape = ROWS, COLUMNS
    pattern = smooth_noise(
        rng, shape, (int(rng.integers(8, 14)), int(rng.integers(10, 18))), octaves=2
    )
    light = smoothstep(pattern, 0.0, 0.75)
    strength = rng.uniform(0.5, 0.9)
    blend(leaf.colour, _shade(rng, (0.63, 0.69, 0.27)), np.float32(strength) * light)
    blend(leaf.colour, (0.09, 0.25, 0.08), 0.45 * smoothstep(pattern, -0.3, -1.2))
    leaf.height += np.float32(rng.uniform(1.0, 2.6)) * pattern
    np.maximum(leaf.lesions, light, out=leaf.lesions)


def healthy(leaf: LeafBlade, rng: np.random.Generator) -> None:
    """Nothing."""


SYMPTOMS: dict[str, Callable[[LeafBlade, np.random.Generator], None]] = {
    "healthy": healthy,
    "bacterial_spot": bacterial_spot,
    "early_blight": early_blight,
    "late_blight": late_blight,
    "rust": rust,
    "powdery_mildew": powdery_mildew,
    "mosaic": mosaic,
}


def _ragged(rng: np.random.Generator, strength: float, cells: int) -> Field:
    noise = smooth_noise(rng, (ROWS, COLUMNS), (cells, cells * COLUMNS // ROWS), octaves=2)
    ragged: Field = np.clip(np.float32(strength) * noise, -0.7, 0.7)
    return ragged


def _shade(rng: np.random.Generator, colour: Colour) -> Colour:
    factor = rng.uniform(0.8, 1.25)
    red, green, blue = (min(1.0, value * factor * rng.uniform(0.92, 1.08)) for value in colour)
    return red, green, blue


def _on_margin(leaf: LeafBlade, rng: np.random.Generator) -> tuple[int, int]:
    band: npt.NDArray[np.bool_] = (np.abs(leaf.across) > 0.6) & (np.abs(leaf.across) < 1)
    rows, columns = np.nonzero(band & (leaf.along > 0.12) & (leaf.along < 0.97))
    place = int(rng.integers(len(rows)))
    return int(rows[place]), int(columns[place])
