"""One leaf, flat, before it is photographed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.procedural.noise import Field, blend, smooth_noise

ROWS, COLUMNS = 256, 336

_BASE = 34.0
_LENGTH = 288.0


@dataclass
class LeafBlade:
    """A blade lying along the x axis of a canvas of 256 by 336 pixels, stalk to the left.

    Colours fill the whole canvas; ``alpha`` says where the leaf is.

    Attributes:
        colour: RGB from 0 to 1, ``(256, 336, 3)``.
        alpha: Cover from 0 to 1, ``(256, 336)``.
        height: Relief in pixels, ``(256, 336)``.
        lesions: Cover by symptoms from 0 to 1, ``(256, 336)``.
        along: Place along the midrib, 0 at the stalk, 1 at the tip.
        across: Place across, 0 on the midrib, 1 and -1 on the margins.
    """

    colour: npt.NDArray[np.float32]
    alpha: Field
    height: Field
    lesions: Field
    along: Field
    across: Field

    @classmethod
    def grow(cls, rng: np.random.Generator, crinkle: float = 0.0) -> LeafBlade:
        """Grows a healthy leaf.

        Args:
            rng: Source of its shape, veins and colour.
            crinkle: How far the margin is distorted, 0 to 1.
        """
        y, x = np.mgrid[:ROWS, :COLUMNS].astype(np.float32)
        along = (x - _BASE) / _LENGTH
        inside = np.clip(along, 0, 1)
        bend = rng.uniform(-26, 26)
        lateral = y - ROWS / 2 - np.float32(bend) * (4 * inside * (1 - inside) - 0.5)
        half_width = _half_width(rng, inside, lateral > 0, crinkle)
        across = lateral / np.maximum(half_width, 1)
        blade = np.where((along > 0) & (along < 1), half_width - np.abs(lateral), -1)
        stalk_width = np.float32(rng.uniform(2.2, 3.4))
        stalk = np.where((along > -0.1) & (along < 0.05), stalk_width - np.abs(lateral), -1)
        leaf = cls(
            colour=_green(rng),
            alpha=np.clip(np.maximum(blade, stalk) + 0.5, 0, 1),
            height=1.2 * smooth_noise(rng, (ROWS, COLUMNS), (5, 7), octaves=2),
            lesions=np.zeros((ROWS, COLUMNS), dtype=np.float32),
            along=along,
            across=across,
        )
        leaf._draw_veins(rng, lateral)
        leaf._age(rng)
        return leaf

    def scattered(
        self, rng: np.random.Generator, count: int, reach: float = 0.93
    ) -> list[tuple[int, int]]:
        """Places for symptoms: anywhere on the blade, in loose clusters.

        Args:
            rng: Source of the places.
            count: How many.
            reach: Share of the blade's width that they keep to.

        Returns:
            Rows and columns.
        """
        on_leaf = (np.abs(self.across) < reach) & (self.along > 0.04) & (self.along < 0.96)
        rows, columns = np.nonzero(on_leaf)
        density = np.exp(rng.uniform(0.3, 1.4) * smooth_noise(rng, (ROWS, COLUMNS), (3, 4)))
        weight = density[rows, columns].astype(np.float64)
        chosen = rng.choice(len(rows), size=count, p=weight / weight.sum())
        return [(int(rows[place]), int(columns[place])) for place in chosen]

    def _draw_veins(self, rng: np.random.Generator, lateral: Field) -> None:
        pairs = rng.uniform(6, 10)
        slope = rng.uniform(0.5, 0.95)
        side = np.where(lateral > 0, np.float32(0.5 * rng.integers(2)), np.float32(0))
        wobble = 0.05 * smooth_noise(rng, (ROWS, COLUMNS), (6, 8))
        phase = (self.along - np.float32(slope) * np.abs(lateral) / _LENGTH) * pairs + side + wobble
        off_vein = np.abs(phase - np.round(phase)) * np.float32(_LENGTH / pairs * 0.75)
        taper = np.clip(1 - 0.75 * np.abs(self.across), 0, 1)
        secondary = np.exp(-((off_vein / (0.5 + 0.9 * taper)) ** 2)) * (0.35 + 0.65 * taper)
        width = 1.2 + 2.2 * np.clip(1 - self.along, 0, 1)
        midrib = np.exp(-((lateral / width) ** 2))
        net = np.exp(-((smooth_noise(rng, (ROWS, COLUMNS), (34, 44)) / 0.16) ** 2))
        pale = self.colour.mean(axis=(0, 1)) * 0.55 + np.array([0.28, 0.31, 0.17], dtype=np.float32)
        strength = rng.uniform(0.45, 0.85)
        blend(self.colour, pale, 0.16 * strength * net)
        blend(self.colour, pale, 0.7 * strength * secondary)
        blend(self.colour, pale, strength * midrib)
        quilted = rng.uniform(0.8, 2.2)
        self.height -= np.float32(quilted) * (secondary + 1.4 * midrib) + 0.25 * net

    def _age(self, rng: np.random.Generator) -> None:
        """Yellows some margins: leaves of every class age."""
        if rng.random() > 0.3:
            return
        edge = np.clip((np.abs(self.across) - 0.6) / 0.4, 0, 1) * rng.uniform(0.15, 0.5)
        patchy = np.clip(0.5 + 0.6 * smooth_noise(rng, (ROWS, COLUMNS), (4, 6)), 0, 1)
        blend(self.colour, (0.58, 0.56, 0.2), (edge * patchy).astype(np.float32))


def _half_width(
    rng: np.random.Generator, along: Field, lower: npt.NDArray[np.bool_], crinkle: float
) -> Field:
    """Half the blade's width in pixels at every place along it, each side for itself."""
    steps: Field = np.linspace(0, 1, COLUMNS, dtype=np.float32)
    rise, fall = rng.uniform(0.4, 0.75), rng.uniform(0.75, 1.3)
    profile = steps**rise * (1 - steps) ** fall
    profile *= rng.uniform(62, 104) / profile.max()
    teeth = rng.uniform(14, 30)
    depth = rng.uniform(0.01, 0.07)
    sides = []
    for _ in range(2):
        waves = smooth_noise(rng, (2, COLUMNS), (1, int(rng.integers(5, 9))))[0]
        saw = (steps * teeth + rng.random()) % 1
        sides.append(profile * (1 + depth * (saw - 0.5) + (0.025 + 0.11 * crinkle) * waves))
    place = along * (COLUMNS - 1)
    upper_half, lower_half = (np.interp(place, np.arange(COLUMNS), side) for side in sides)
    half_width: Field = np.where(lower, lower_half, upper_half).astype(np.float32)
    return half_width


def _green(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    young = rng.random()
    base = np.array(
        [0.16 + 0.17 * young, 0.34 + 0.2 * young, 0.09 + 0.09 * rng.random()], dtype=np.float32
    )
    mottle = smooth_noise(rng, (ROWS, COLUMNS), (4, 6), octaves=4)
    green: npt.NDArray[np.float32] = np.clip(base * (1 + 0.09 * mottle[..., None]), 0, 1)
    return green
