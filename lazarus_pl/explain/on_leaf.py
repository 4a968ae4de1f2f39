"""A map of lesions beside the leaf that they should be on."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from lazarus_pl.leaf.find_leaf import find_leaf

Floats = npt.NDArray[np.float32]

# lesions eat edges away, and an outline may cut them off: this share of the photo is forgiven
_MARGIN = 0.05


class OnLeaf(NamedTuple):
    """What a map marks, by where it lies.

    Attributes:
        cover: 0 to 1, how much of each cell is leaf or next to it, and may be marked; all of the
            photo where no leaf stands off.
        severity: Share of the leaf that is marked, 0 to 1.
        outside: Share of the evidence above 0 under the cover that lies off the leaf and its bays,
            0 to 1: a lesion that the outline cuts off counts as leaf.
    """

    cover: Floats
    severity: float
    outside: float


def on_leaf(lesions: Floats, pixels: npt.NDArray[np.uint8]) -> OnLeaf:
    """Compares a map with the leaf's outline; marked is what is above 0.

    Args:
        lesions: Log-odds ``(H, W)`` over the whole photo.
        pixels: The photo, RGB uint8 ``(S, S, 3)``.
    """
    found = find_leaf(pixels)
    marked = lesions > 0
    if found is None:
        return OnLeaf(np.ones_like(lesions), float(marked.mean()), 0.0)
    size = (lesions.shape[1], lesions.shape[0])
    leaf = found.mask.astype(np.float32)
    cover = cv2.resize(leaf, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    reach = 2 * round(_MARGIN * max(size)) + 1
    wide = cv2.dilate(cover, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    severity = float((cover * marked).sum() / max(float(cover.sum()), 1e-6))
    # what lies farther off is not shown, and much of it is background, which is never green
    strength = np.maximum(lesions, 0) * wide
    off = 1 - np.maximum(cover, _hull(cover))
    outside = float((off * strength).sum() / max(float(strength.sum()), 1e-6))
    return OnLeaf(wide.astype(np.float32), severity, outside)


def _hull(cover: Floats) -> Floats:
    """Convex hull of what is leaf for the most part, 0 or 1."""
    parts, _ = cv2.findContours(
        (cover > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    hull = np.zeros_like(cover)
    if parts:
        cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(parts)), 1)
    return hull
