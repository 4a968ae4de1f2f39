"""Backgrounds that are drawn, so that the swap works with nothing at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from lazarus_pl.errors import LazarusError
from lazarus_pl.leaf.backgrounds.bokeh import bokeh
from lazarus_pl.leaf.backgrounds.grass import grass
from lazarus_pl.leaf.backgrounds.paper import paper
from lazarus_pl.leaf.backgrounds.sky import sky
from lazarus_pl.leaf.backgrounds.soil import soil
from lazarus_pl.leaf.backgrounds.texture import Picture

KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Picture]] = {
    "soil": soil,
    "grass": grass,
    "bokeh": bokeh,
    "sky": sky,
    "paper": paper,
}


class ProceduralBackgrounds:
    """Drawn soil, grass, bokeh, sky and paper.

    Args:
        weights: How often each kind of :data:`KINDS` is drawn, relative to the others; all alike
            by default.

    Raises:
        LazarusError: If a kind does not exist, or no weight is above 0.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        weights = dict.fromkeys(KINDS, 1.0) if weights is None else weights
        for kind in weights:
            if kind not in KINDS:
                raise LazarusError(
                    f"there is no drawn background '{kind}': choose from {', '.join(KINDS)}"
                )
        if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
            raise LazarusError("drawn backgrounds need weights of 0 and above, one of them above 0")
        self.kinds = list(weights)
        self.shares = np.array(list(weights.values())) / sum(weights.values())

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Draws one background.

        Args:
            rng: Determines it.
            shape: Rows and columns.

        Returns:
            RGB pixels ``(H, W, 3)``.
        """
        kind = self.kinds[int(rng.choice(len(self.kinds), p=self.shares))]
        return _exposed(KINDS[kind](rng, shape), rng)


def _exposed(ground: Picture, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What a camera makes of it: exposure, white balance, uneven light, a shadow, blur, grain."""
    height, width = ground.shape[:2]
    balance = rng.uniform(0.7, 1.25) * rng.uniform(0.93, 1.07, 3)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None]
    turn, uneven = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.2)
    slope = np.float32(np.sin(turn) * uneven) * down + np.float32(np.cos(turn) * uneven) * across
    light = 1 + slope - np.float32(rng.uniform(0, 0.12)) * (down * down + across * across)
    exposed = ground * light[..., None] * balance.astype(np.float32)
    if rng.random() < 0.3:
        sigma = rng.uniform(0.002, 0.01) * min(height, width)
        exposed = cv2.GaussianBlur(exposed, (0, 0), max(0.3, sigma)).astype(np.float32)
    grain = rng.standard_normal((height, width, 1), dtype=np.float32)
    exposed += np.float32(rng.uniform(0.002, 0.02)) * grain
    pixels: npt.NDArray[np.uint8] = np.clip(exposed * 255 + 0.5, 0, 255).astype(np.uint8)
    return pixels
