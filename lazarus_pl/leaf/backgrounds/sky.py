"""Sky: clear, clouded, overcast, or low sun."""

from __future__ import annotations

import numpy as np

from lazarus_pl.leaf.backgrounds.texture import Picture, texture

_ZENITH_AND_HORIZON = np.array(
    [
        [[0.22, 0.42, 0.72], [0.68, 0.8, 0.92]],
        [[0.36, 0.56, 0.82], [0.85, 0.9, 0.95]],
        [[0.6, 0.63, 0.68], [0.82, 0.83, 0.85]],
        [[0.35, 0.38, 0.5], [0.9, 0.68, 0.5]],
        [[0.8, 0.84, 0.88], [0.95, 0.95, 0.94]],
    ],
    dtype=np.float32,
)


def sky(rng: np.random.Generator, shape: tuple[int, int]) -> Picture:
    """Draws a gradient with clouds, RGB from 0 to 1, ``(H, W, 3)``.

    Args:
        rng: Source of everything.
        shape: Rows and columns.
    """
    zenith, horizon = _ZENITH_AND_HORIZON[rng.integers(len(_ZENITH_AND_HORIZON))]
    low, high = np.sort(rng.uniform(0, 1, 2))
    down = np.linspace(low, high, shape[0], dtype=np.float32)
    across = np.linspace(-0.5, 0.5, shape[1], dtype=np.float32) * np.float32(rng.uniform(-0.5, 0.5))
    place = np.clip(down[:, None] + across[None], 0, 1)[..., None]
    ground: Picture = zenith + (horizon - zenith) * place
    cells = (rng.uniform(1.5, 5), rng.uniform(1, 3))
    clouds = texture(rng, shape, cells, octaves=5, roughness=rng.uniform(0.4, 0.6))
    thickness = np.clip((clouds + np.float32(rng.uniform(-1.8, 1.6))) / 3, 0, 1)
    # thin veils are bright, thick clouds dark underneath
    shaded = np.float32(1) - np.float32(rng.uniform(0.1, 0.7)) * thickness * thickness
    white = shaded[..., None] * rng.uniform(0.93, 1.0, 3).astype(np.float32)
    opacity = 1 - np.exp(-np.float32(rng.uniform(2, 6)) * thickness)
    ground += (white - ground) * opacity[..., None]
    return ground
