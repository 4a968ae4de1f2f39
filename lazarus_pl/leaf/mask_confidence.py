"""How far a leaf's mask can be trusted, judged without knowing the truth."""

from __future__ import annotations

import cv2
import numpy as np

from lazarus_pl.leaf.leaf_score import Bools, LeafScore


def mask_confidence(score: LeafScore, mask: Bools) -> float:
    """How clearly a leaf stands off its background, 0 to 1.

    A true mask has a background of one colour around it, a sharp edge nearly everywhere, an outline
    that is not ragged, a colour that is clearly not the background's, lies about the middle, and
    neither fills the frame nor is a speck. The bounds lie
    between photos of single leaves on plain ground and frame-filling leaves, photos from the field
    and photos without a leaf.

    Args:
        score: Against the background, ``(H, W)``.
        mask: The leaf, ``(H, W)``.
    """
    coverage = float(mask.mean())
    if coverage in (0.0, 1.0):
        return 0.0
    level = float(np.median(score.values[mask])) + 1e-6
    frame = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    marks = (
        _between(float(score.unlike[~mask].mean()) / level, 0.22, 0.12),
        _between(_edge(score, mask) / level, 0.04, 0.09),
        _between(_compactness(mask), 0.1, 0.2),
        _between(level, 0.035, 0.06),
        _between(coverage, 0.01, 0.04),
        _between(coverage, 0.97, 0.9),
        _between(float(frame.mean()), 0.85, 0.7),
        _between(_off_centre(mask), 0.3, 0.2),
    )
    return float(np.prod(marks))


def _edge(score: LeafScore, mask: Bools) -> float:
    """Rise of the score a pixel at the blurrier parts of the outline; 0 if there is none."""
    smooth = cv2.GaussianBlur(score.values, (5, 5), 1.2)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    steepest = cv2.dilate(cv2.magnitude(across, down), np.ones((5, 5), dtype=np.uint8))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), dtype=np.uint8))
    outline = mask & (inner == 0)
    # where the leaf leaves the frame there is no edge to be seen
    outline[[0, 1, -2, -1]] = False
    outline[:, [0, 1, -2, -1]] = False
    if not outline.any():
        return 0.0
    twentieth: float = np.percentile(steepest[outline], 20).item()
    return twentieth


def _compactness(mask: Bools) -> float:
    """1 for a disc, near 0 for what is ragged: ``4 pi area / perimeter**2``."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    perimeter = cv2.arcLength(outline, closed=True)
    roundness: float = 4 * np.pi * cv2.contourArea(outline) / max(perimeter, 1) ** 2
    return roundness


def _off_centre(mask: Bools) -> float:
    """Distance from the photo's middle to the leaf's, as a share of the photo's side."""
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    height, width = mask.shape
    down: float = float(moments["m01"]) / float(moments["m00"]) / height
    across: float = float(moments["m10"]) / float(moments["m00"]) / width
    return max(abs(down - 0.5), abs(across - 0.5))


def _between(value: float, nothing: float, everything: float) -> float:
    """0 at one bound and beyond, 1 at the other, linear between."""
    return min(1.0, max(0.0, (value - nothing) / (everything - nothing)))
