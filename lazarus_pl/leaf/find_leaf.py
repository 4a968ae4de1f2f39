"""A photo's pixels to a leaf's mask: classical, and fast enough to be done for every photo."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from lazarus_pl.leaf.leaf_mask import CONFIDENT, LeafMask
from lazarus_pl.leaf.leaf_score import Bools, Colours, LeafScore, otsu
from lazarus_pl.leaf.mask_confidence import mask_confidence

_SIDE = 256
_LEAST_SIDE = 32
_SURE = 0.9


def find_leaf(pixels: npt.NDArray[np.uint8], at_least: float = CONFIDENT) -> LeafMask | None:
    """Finds the leaf that a photo shows.

    The colour of the background is learned from the photo itself (:class:`Colours`), Otsu's
    threshold parts leaf from background, and the largest part is taken with its holes, so that
    lesions stay in. Of several guesses at the background, the one whose leaf stands off best wins.
    GrabCut was tried on top: on the potato masks it lowered the IoU and halved the speed.

    Args:
        pixels: RGB uint8 ``(H, W, 3)``.
        at_least: Least confidence; 0 gives the best guess for any photo.

    Returns:
        The leaf, or None: no leaf, a leaf that fills the frame, or leaves among leaves.

    Raises:
        ValueError: If the pixels are not RGB uint8.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels must be RGB uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    small = _resized(pixels)
    if small is None:
        return None
    best: LeafMask | None = None
    for score in _scores(Colours(small)):
        mask = _one_leaf(score.above)
        found = LeafMask(mask, mask_confidence(score, mask))
        if best is None or found.confidence > best.confidence:
            best = found
        if best.confidence >= _SURE:
            break
    if best is None or best.confidence < at_least or not best.mask.any():
        return None
    return LeafMask(_enlarged(best.mask, pixels.shape[:2]), best.confidence)


def _resized(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """The photo with a long side of 256, so that sizes in pixels mean the same everywhere."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if min(height, width) == 0:
        return None
    size = (round(width * _SIDE / longest), round(height * _SIDE / longest))
    if min(size) < _LEAST_SIDE:
        return None
    if longest == _SIDE:
        return pixels
    kind = cv2.INTER_AREA if longest > _SIDE else cv2.INTER_LINEAR
    resized: npt.NDArray[np.uint8] = cv2.resize(pixels, size, interpolation=kind).astype(np.uint8)
    return resized


def _scores(colours: Colours) -> Iterator[LeafScore]:
    """Scores against one guess at the background after the other, the likeliest first."""
    black = colours.blacked_out()
    if _border(black).mean() > 0.04:
        yield colours.score_against_black()
    leafiness = colours.leafiness()
    background = leafiness <= otsu(leafiness)
    first = colours.score_against(background)
    yield colours.score_against(first.background)
    # a leaf of two tones, one of them near the background's: both thresholds are set once more
    # among what lies below
    two_toned = colours.score_against(leafiness <= otsu(leafiness[background]))
    yield two_toned.lowered()


def _one_leaf(above: Bools) -> Bools:
    """The largest part, without whiskers, with its holes and narrow bays."""
    opened = cv2.morphologyEx(above.astype(np.uint8), cv2.MORPH_OPEN, _disc(3))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count == 1:
        return np.zeros(above.shape, dtype=np.bool_)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    filled = _filled((labels == largest).astype(np.uint8))
    margin = 9
    wide = np.pad(filled, margin)
    closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, _disc(margin)).astype(np.uint8)
    mask: Bools = _filled(closed[margin:-margin, margin:-margin]) > 0
    return mask


def _filled(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The mask with every part of its outside that does not reach the frame."""
    wide = np.pad(mask, 1)
    cv2.floodFill(wide, None, (0, 0), 2)
    filled: npt.NDArray[np.uint8] = (wide[1:-1, 1:-1] != 2).astype(np.uint8)
    return filled


def _enlarged(mask: Bools, shape: tuple[int, ...]) -> Bools:
    if mask.shape == shape:
        return mask
    cover = cv2.resize(
        mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR
    )
    enlarged: Bools = cover > 0.5
    return enlarged


def _border(field: Bools) -> Bools:
    return np.concatenate([field[0], field[-1], field[:, 0], field[:, -1]])


def _disc(diameter: int) -> npt.NDArray[np.uint8]:
    disc: npt.NDArray[np.uint8] = cv2.getStructuringElement(
        cv2.MORPH_ELLIPSE, (diameter, diameter)
    ).astype(np.uint8)
    return disc
