"""Contiguous ranges of camera numbers: photos of one leaf carry consecutive ones."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.balanced import deal_groups
from lazarus_pl.data.split.split_spec import UNUSED, SplitSpec

BURST = 8
_FEWEST = 3
_SHORT = 6
# so many photos can have a train, a val and a test range
_RANGE = 24


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

    Where a class has many sequences of a few photos (a name a plant), each stays whole instead.

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
    groups = {
        item.photo.path: f"{label}/{source}"
        for label, source in _scattered(sequences)
        for item in sequences[label, source]
    }
    scattered = [item.photo for item in photos if item.photo.path in groups]
    sides = deal_groups(scattered, groups, spec, settled)
    for (label, source), sequence in sequences.items():
        if sequence[0].photo.path in sides:
            continue
        sequence.sort(key=_order)
        known = [item for item in sequence if item.photo.path in settled]
        cut = _extend(sequence, known, spec, settled) if known else _cut(sequence, spec)
        sides.update(cut)
        groups.update(_bursts(f"{label}/{source}", sequence, cut))
    return sides, groups


def _scattered(sequences: Mapping[tuple[str, str], Sequence[Numbered]]) -> list[tuple[str, str]]:
    """Sequences too short to be cut, where a class has so many that they can be dealt out whole."""
    short = [key for key, sequence in sequences.items() if len(sequence) < _SHORT]
    of_class = Counter(label for label, _ in short)
    return [key for key in short if of_class[key[0]] >= _SHORT]


def _cut(sequence: Sequence[Numbered], spec: SplitSpec) -> dict[str, str]:
    borders = _borders(len(sequence), spec, gap=0 if _numbers_leaves(sequence) else spec.gap)
    sides: dict[str, str] = {}
    start = 0
    for _, photos_of_leaf in groupby(sequence, key=lambda item: item.leaf):
        paths = [item.photo.path for item in photos_of_leaf]
        middle = start + len(paths) / 2
        side = next((name for name, end in borders if middle < end), borders[-1][0])
        sides.update(dict.fromkeys(paths, side))
        start += len(paths)
    return sides


def _borders(total: int, spec: SplitSpec, gap: int) -> list[tuple[str, float]]:
    """Where each stretch of a sequence ends.

    Train gives up the photos before val: it has most. Val and test share the loss between them.
    """
    train, val, test = spec.fractions
    first, second = train * total, (train + val) * total
    if total >= _FEWEST:
        # however few photos there are, each side gets one
        first = min(first, total - (2 if test else 1))
        second = max(first + 1, min(second, total - 1))
    before_val = min(gap, int(first / 4))
    stretches = [("train", first - before_val), (UNUSED, first)]
    if not test:
        return [*stretches, ("val", float(total))]
    before_test = min(gap, int((total - first) / 3))
    return [
        *stretches,
        ("val", second - before_test / 2),
        (UNUSED, second + before_test / 2),
        ("test", float(total)),
    ]


def _numbers_leaves(sequence: Sequence[Numbered]) -> bool:
    return any(item.name.numbers_leaves or item.name.number % 1 for item in sequence)


def _extend(
    sequence: Sequence[Numbered],
    known: Sequence[Numbered],
    spec: SplitSpec,
    settled: Mapping[str, str],
) -> dict[str, str]:
    """Joins new photos to their nearest; many beyond the known numbers are a range of their own."""
    lowest, highest = known[0], known[-1]
    before = [item for item in sequence if item.leaf < lowest.leaf - spec.gap]
    after = [item for item in sequence if item.leaf > highest.leaf + spec.gap]
    sides = _join_nearest(sequence, known, settled)
    # each ordered towards the known range
    for beyond, neighbour in ((before, lowest), (after[::-1], highest)):
        if len(beyond) < _RANGE:
            continue
        cut = _cut(sorted(beyond, key=_order), spec)
        nearest = [item.photo.path for item in beyond[len(beyond) - spec.gap :]]
        side = settled[neighbour.photo.path]
        sides.update(cut)
        sides.update({path: UNUSED for path in nearest if cut[path] != side})
    return sides


def _order(item: Numbered) -> tuple[float, str]:
    return item.name.number, item.photo.path


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


def _bursts(prefix: str, sequence: Sequence[Numbered], sides: Mapping[str, str]) -> dict[str, str]:
    """Names leaf groups: a named leaf, or up to eight consecutive numbers of one side."""
    length = 1 if _numbers_leaves(sequence) else BURST
    groups: dict[str, str] = {}
    for _, run in groupby(sequence, key=lambda item: sides[item.photo.path]):
        first: int | None = None
        for item in run:
            if first is None or item.leaf - first >= length:
                first = item.leaf
            groups[item.photo.path] = f"{prefix}/{first}"
    return groups
