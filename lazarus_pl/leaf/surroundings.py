"""What a photo shows besides its leaf, as a background for other leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from lazarus_pl.leaf.leaf_mask import LeafMask
from lazarus_pl.leaf.leaf_score import Bools, Colours, Field

Pixels = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float32]
Kind = TypeVar("Kind", bound=np.generic)

_LEAST_FREE = 0.12
_COARSE = 32


def surroundings(pixels: Pixels, leaf: LeafMask) -> Pixels | None:
    """Takes the leaf out of a photo.

    Where the leaf was, the tone of its surroundings is continued smoothly and their grain is laid
    on it, taken from elsewhere in the photo. Everything else that looks like leaf goes too, and so
    do cast shadows, for they have the leaf's shape.

    Args:
        pixels: RGB uint8 ``(H, W, 3)``.
        leaf: The leaf in it.

    Returns:
        Pixels ``(H, W, 3)`` without any pixel of a leaf; None where the mask is not confident or
        too little surrounds the leaf.

    Raises:
        ValueError: If mask and photo differ in size.
    """
    if pixels.shape[:2] != leaf.mask.shape:
        raise ValueError(f"a mask of {leaf.mask.shape} does not fit a photo of {pixels.shape[:2]}")
    if not leaf.is_confident:
        return None
    free = _free(pixels, leaf.mask)
    if free.mean() < _LEAST_FREE:
        return None
    photo = pixels.astype(np.float32)
    tone = _continued(photo, free)
    grain = _spread(photo - tone, free)
    without: Pixels = np.clip(tone + grain + 0.5, 0, 255).astype(np.uint8)
    return without


def _free(pixels: Pixels, leaf: Bools) -> Bools:
    """What surely is background and in the light."""
    side = min(leaf.shape)
    outside = ~_widened(leaf, side // 16)
    if not outside.any():
        return outside
    colours = Colours(pixels)
    score = colours.score_against(outside)
    outside &= ~_widened(score.above, side // 50)
    if not outside.any():
        return outside
    shadow = colours.brightness < 0.7 * np.median(colours.brightness[outside])
    lit = outside & ~_widened(shadow, side // 50)
    return lit if lit.mean() >= _LEAST_FREE else outside


def _widened(mask: Bools, reach: int) -> Bools:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    widened: Bools = cv2.dilate(mask.astype(np.uint8), kernel) > 0
    return widened


def _continued(photo: Picture, free: Bools) -> Picture:
    """The coarse tones of what is free, continued into what is not.

    Pull and push: from the finest mean that is known to ever wider ones (`Gortler et al. 1996
    <https://doi.org/10.1145/237170.237200>`_).
    """
    height, width = free.shape
    size = (max(1, width * _COARSE // height), _COARSE)
    cover = free.astype(np.float32)
    weight = cv2.resize(cover, size, interpolation=cv2.INTER_AREA)
    light = cv2.resize(photo * cover[..., None], size, interpolation=cv2.INTER_AREA)
    tone: Picture = np.zeros((size[1], size[0], 3), dtype=np.float32)
    known: Field = np.zeros((size[1], size[0]), dtype=np.float32)
    for sigma in (1, 2, 4, 8, 16, 32):
        wide = cv2.GaussianBlur(weight, (0, 0), sigma)
        mean = cv2.GaussianBlur(light, (0, 0), sigma) / np.maximum(wide, 1e-6)[..., None]
        share = ((1 - known) * np.clip(wide * 3, 0, 1)).astype(np.float32)
        tone += (mean * share[..., None]).astype(np.float32)
        known += share
    tone /= np.maximum(known, 1e-6)[..., None]
    continued: Picture = cv2.resize(tone, (width, height), interpolation=cv2.INTER_CUBIC).astype(
        np.float32, copy=False
    )
    return continued


def _spread(grain: Picture, free: Bools) -> Picture:
    """Lays grain from where it is known to where it is not: mirrored and shifted copies."""
    known = free.copy()
    spread = np.where(free[..., None], grain, np.float32(0))
    for copy, there in zip(_copies(spread.copy()), _copies(free), strict=True):
        new = there & ~known
        spread[new] = copy[new]
        known |= there
        if known.all():
            break
    return spread


def _copies(field: npt.NDArray[Kind]) -> Iterator[npt.NDArray[Kind]]:
    height, width = field.shape[:2]
    for down in (0, height // 2, height // 4, 3 * height // 4):
        for across in (0, width // 2, width // 4, 3 * width // 4):
            moved = np.roll(field, (down, across), axis=(0, 1))
            yield from (moved, moved[:, ::-1], moved[::-1], moved[::-1, ::-1])
