"""Contiguous ranges of camera numbers: photos of one leaf carry consecutive ones."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.split_spec import UNUSED, SplitSpec

_BURST = 8


@dataclass(frozen=True, slots=True)
class Numbered:
    """A photo whose name says where it stands in its photographer's sequence."""

    photo: Photo
    name: LeafName

    @property
    def leaf(self) -> int:
        """Whole part of the number; copies and fractions of a number share it."""
        return int(self.name.number)


def split_ranges(
    photos: Sequence[Numbered], spec: SplitSpec, settled: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Cuts each class's and photographer's sequence into train, val and test ranges.

    Args:
        photos: Numbered photos of any classes.
        spec: Fractions and gap.
        settled: Sides of paths that were cut before. New photos beside them join the side of the
            photo nearest in number, so adding photos moves nothing.

    Returns:
        The side and the leaf group of each path.
    """
    sequences: dict[tuple[str, str], list[Numbered]] = defaultdict(list)
    for photo in photos:
        sequences[photo.photo.label, photo.name.source].append(photo)
    sides: dict[str, str] = {}
    groups: dict[str, str] = {}
    for (label, source), sequence in sequences.items():
        sequence.sort(key=lambda item: (item.name.number, item.photo.path))
        known = [item for item in sequence if item.photo.path in settled]
        cut = _join_nearest(sequence, known, settled) if known else _cut(sequence, spec)
        sides.update(cut)
        groups.update(_bursts(f"{label}/{source}", sequence, cut))
    return sides, groups


def _cut(sequence: Sequence[Numbered], spec: SplitSpec) -> dict[str, str]:
    total = len(sequence)
    train, val, test = spec.fractions
    first_cut, second_cut = train * total, (train + val) * total
    gap = 0
    if not _numbers_leaves(sequence):
        gap = min(spec.gap, int(min(val, test or val) * total / 2))
    borders = (first_cut, first_cut + gap, second_cut, second_cut + gap if test else second_cut)

    def side(position: float) -> str:
        if position < borders[0]:
            return "train"
        if position < borders[1]:
            return UNUSED
        if position < borders[2] or not test:
            return "val"
        return UNUSED if position < borders[3] else "test"

    sides: dict[str, str] = {}
    start = 0
    for _, leaf in groupby(sequence, key=lambda item: item.leaf):
        photos = list(leaf)
        sides.update(dict.fromkeys((p.photo.path for p in photos), side(start + len(photos) / 2)))
        start += len(photos)
    return sides


def _numbers_leaves(sequence: Sequence[Numbered]) -> bool:
    return any(item.name.numbers_leaves or item.name.number % 1 for item in sequence)


def _join_nearest(
    sequence: Sequence[Numbered], known: Sequence[Numbered], settled: Mapping[str, str]
) -> dict[str, str]:
    numbers = [float(item.leaf) for item in known]

    def nearest(item: Numbered) -> Numbered:
        above = bisect_left(numbers, item.leaf)
        candidates = known[max(0, above - 1) : above + 1]
        return min(candidates, key=lambda other: abs(other.leaf - item.leaf))

    return {
        item.photo.path: settled.get(item.photo.path) or settled[nearest(item).photo.path]
        for item in sequence
    }


def _bursts(
    prefix: str, sequence: Sequence[Numbered], sides: Mapping[str, str]
) -> dict[str, str]:
    """Names leaf groups: a named leaf, or up to eight consecutive numbers of one side."""
    length = 1 if _numbers_leaves(sequence) else _BURST
    groups: dict[str, str] = {}
    for _, run in groupby(sequence, key=lambda item: sides[item.photo.path]):
        first: int | None = None
        for item in run:
            if first is None or item.leaf - first >= length:
                first = item.leaf
            groups[item.photo.path] = f"{prefix}/{first}"
    return groups
