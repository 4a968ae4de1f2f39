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
    hashes = _bits(phashes)
    for start in range(0, len(hashes), _CHUNK):
        for other in range(start, len(hashes), _CHUNK):
            block, against = hashes[start : start + _CHUNK], hashes[other : other + _CHUNK]
            distances = _popcount(block[:, None] ^ against[None, :])
            left, right = np.nonzero(distances <= max_distance)
            distance = distances[left, right]
            left, right = left + start, right + other
            forward = left < right
            yield left[forward], right[forward], distance[forward]


def nearest(
    phashes: Sequence[str], among: Sequence[str], max_distance: int = MAX_DISTANCE
) -> dict[int, int]:
    """The photo that looks most like each one, the first of several.

    Args:
        phashes: 16 hex digits a photo.
        among: Those of the photos to choose from.
        max_distance: Bits in which the two may differ.

    Returns:
        Places in ``among`` by places in ``phashes``, where there is one that is near enough.
    """
    found: dict[int, int] = {}
    if not among:
        return found
    others = _bits(among)
    for place, one in enumerate(_bits(phashes)):
        distances = _popcount(one ^ others)
        best = int(distances.argmin())
        if distances[best] <= max_distance:
            found[place] = best
    return found


def near_duplicate_groups(
    phashes: Sequence[str], max_distance: int = MAX_DISTANCE
) -> npt.NDArray[np.intp]:
    """Joins photos whose perceptual hashes differ in few bits, transitively.

    Pairs are forgotten block by block: a burst of n frames has n * n / 2 of them.

    Args:
        phashes: 16 hex digits a photo.
        max_distance: Bits in which two photos of one group may differ.

    Returns:
        The index of each photo's group, numbered by first appearance; shape ``(len(phashes),)``.
    """
    distinct = {phash: place for place, phash in enumerate(dict.fromkeys(phashes))}
    groups = np.arange(len(distinct))
    for left, right, _ in near_pairs(list(distinct), max_distance):
        groups = _joined(groups, left, right)
    return np.array([groups[distinct[phash]] for phash in phashes], dtype=np.intp)


def _joined(
    groups: npt.NDArray[np.intp], left: npt.NDArray[np.intp], right: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """Groups after those of each left and right photo became one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.stack([groups[left], groups[right]])
    ends = ends[:, ends[0] != ends[1]]
    if not ends.size:
        return groups
    graph = coo_array((np.ones(ends.shape[1], np.bool_), ends), shape=2 * (len(groups),))
    # numbered by first appearance, as the groups are
    _, joined = connected_components(graph, directed=False)
    after: npt.NDArray[np.intp] = joined[groups].astype(np.intp)
    return after


def _bits(phashes: Sequence[str]) -> npt.NDArray[np.uint64]:
    return np.array([int(value, 16) for value in phashes], dtype=np.uint64)


def _popcount(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):
        counts: npt.NDArray[np.uint8] = np.bitwise_count(values)
        return counts
    bits = values.view(np.uint8).reshape(*values.shape, 8)
    summed: npt.NDArray[np.uint8] = _BITS_OF_BYTE[bits].sum(axis=-1, dtype=np.uint8)
    return summed


_BITS_OF_BYTE = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)
