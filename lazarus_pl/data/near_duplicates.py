"""Photos that look alike, found by their perceptual hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

MAX_DISTANCE = 6

_CHUNK = 1024


def near_pairs(
    phashes: Sequence[str], max_distance: int = MAX_DISTANCE
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.uint8]]]:
    """All pairs of photos whose 64-bit perceptual hashes differ in few bits, block by block.

    Compares all pairs in blocks of a few MB; time grows with the square of the number of photos
    (26,000 photos: seconds).

    Args:
        phashes: 16 hex digits a photo.
        max_distance: Bits in which two photos of a pair may differ.

    Yields:
        Places of the left and of the right photos, left before right, and their distances in bits.
    """
    hashes = np.array([int(value, 16) for value in phashes], dtype=np.uint64)
    for start in range(0, len(hashes), _CHUNK):
        for other in range(start, len(hashes), _CHUNK):
            block, against = hashes[start : start + _CHUNK], hashes[other : other + _CHUNK]
            distances = _popcount(block[:, None] ^ against[None, :])
            left, right = np.nonzero(distances <= max_distance)
            distance = distances[left, right]
            left, right = left + start, right + other
            forward = left < right
            yield left[forward], right[forward], distance[forward]


def near_duplicate_groups(
    phashes: Sequence[str], max_distance: int = MAX_DISTANCE
) -> npt.NDArray[np.intp]:
    """Joins photos whose perceptual hashes differ in few bits, transitively.

    Args:
        phashes: 16 hex digits a photo.
        max_distance: Bits in which two photos of one group may differ.

    Returns:
        The index of each photo's group, numbered by first appearance; shape ``(len(phashes),)``.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    distinct = {phash: place for place, phash in enumerate(dict.fromkeys(phashes))}
    blocks = [pairs[:2] for pairs in near_pairs(list(distinct), max_distance)]
    left, right = np.concatenate([np.zeros((2, 0), dtype=np.intp), *blocks], axis=1)
    alike = np.ones(len(left), dtype=np.bool_)
    graph = coo_array((alike, (left, right)), shape=2 * (len(distinct),))
    _, groups = connected_components(graph, directed=False)
    return np.array([groups[distinct[phash]] for phash in phashes], dtype=np.intp)


def _popcount(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):
        counts: npt.NDArray[np.uint8] = np.bitwise_count(values)
        return counts
    bits = values.view(np.uint8).reshape(*values.shape, 8)
    summed: npt.NDArray[np.uint8] = _BITS_OF_BYTE[bits].sum(axis=-1, dtype=np.uint8)
    return summed


_BITS_OF_BYTE = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)
