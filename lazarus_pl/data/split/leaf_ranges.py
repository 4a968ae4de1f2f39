"""Contiguous ranges of camera numbers: photos of one leaf carry consecutive ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.balanced import deal_groups
from lazarus_pl.data.split.split_spec import SIDES, UNUSED, SplitSpec

BURST = 8
_FEWEST = 3
_SHORT = 6
# new photos beyond the settled ranges that are worth ranges of their own
_MANY = 24


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
    photos: Sequence[Numbered],
    spec: SplitSpec,
    settled: Mapping[str, str],
    copies: Container[str] = (),
) -> tuple[dict[str, str], dict[str, str]]:
    """Cuts each class's and photographer's sequence into train, val and test ranges.

    Where a class has many sequences of a few photos (a name a plant), each stays whole instead.

    Args:
        photos: Numbered photos of any classes.
        spec: Fractions and gap.
        settled: Sides of paths that were cut before: they stay. New photos beside them join the
            side of the photo nearest in number; many that lie farther off than the gap are cut into
            ranges of their own.
        copies: Paths of photos whose bytes another one shows: they do not count when a sequence is
            cut.

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
        sequence.sort(key=lambda item: (item.name.number, item.photo.path))
        cut = _continue(sequence, spec, settled, copies)
        sides.update(cut)
        groups.update(_bursts(f"{label}/{source}", sequence, cut))
    return sides, groups


def _scattered(sequences: Mapping[tuple[str, str], Sequence[Numbered]]) -> list[tuple[str, str]]:
    """Sequences too short to be cut, where a class has so many that they can be dealt out whole."""
    short = [key for key, sequence in sequences.items() if len(sequence) < _SHORT]
    of_class = Counter(label for label, _ in short)
    return [key for key in short if of_class[key[0]] >= _SHORT]


def _cut(sequence: Sequence[Numbered], spec: SplitSpec, copies: Container[str]) -> dict[str, str]:
    total = _distinct(sequence, copies)
    borders = _borders(total, spec, gap=0 if _numbers_leaves(sequence) else spec.gap)
    sides: dict[str, str] = {}
    start = 0
    for _, photos_of_leaf in groupby(sequence, key=lambda item: item.leaf):
        items = list(photos_of_leaf)
        count = _distinct(items, copies)
        middle = start + count / 2
        side = next((name for name, end in borders if middle < end), borders[-1][0])
        sides.update({item.photo.path: side for item in items})
        start += count
    return _apart(sequence, sides, gap=round(borders[1][1] - borders[0][1]))


def _apart(sequence: Sequence[Numbered], sides: Mapping[str, str], gap: int) -> dict[str, str]:
    """Leaves unused what lies nearer to the next side than the gap before val, by its number.

    So it is where photos share a number, and between val and test of a short sequence. The larger
    side gives way, by at most twice the gap, and keeps at least half of it.
    """
    of_side = {side: [i for i in sequence if sides[i.photo.path] == side] for side in SIDES}
    least = {side: max(len(found) - 2 * gap, gap / 2) for side, found in of_side.items()}
    for before, after in pairwise(SIDES):
        while of_side[before] and of_side[after]:
            last, first = of_side[before][-1].leaf, of_side[after][0].leaf
            side, leaf = max((before, last), (after, first), key=lambda end: len(of_side[end[0]]))
            kept = [item for item in of_side[side] if item.leaf != leaf]
            if first - last > gap or len(kept) < least[side]:
                break
            of_side[side] = kept
    used = {item.photo.path: side for side, found in of_side.items() for item in found}
    return {path: used.get(path, UNUSED) for path in sides}


def _distinct(items: Sequence[Numbered], copies: Container[str]) -> int:
    return sum(item.photo.path not in copies for item in items)


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


def _continue(
    sequence: Sequence[Numbered],
    spec: SplitSpec,
    settled: Mapping[str, str],
    copies: Container[str],
) -> dict[str, str]:
    """Cuts what lies between settled photos; all of the sequence if none is settled."""
    known = [place for place, item in enumerate(sequence) if item.photo.path in settled]
    sides = {sequence[place].photo.path: settled[sequence[place].photo.path] for place in known}
    for before, after in pairwise((-1, *known, len(sequence))):
        neighbours = [sequence[place] for place in (before, after) if 0 <= place < len(sequence)]
        new = sequence[before + 1 : after]
        sides.update(_between(new, neighbours, spec, settled, copies))
    return sides


def _between(
    new: Sequence[Numbered],
    neighbours: Sequence[Numbered],
    spec: SplitSpec,
    settled: Mapping[str, str],
    copies: Container[str],
) -> dict[str, str]:
    if not neighbours:
        return _cut(new, spec, copies)
    reach = 0 if _numbers_leaves([*new, *neighbours]) else spec.gap
    nearest = {
        item.photo.path: min(neighbours, key=lambda other: abs(other.leaf - item.leaf))
        for item in new
    }
    joined = {path: settled[other.photo.path] for path, other in nearest.items()}
    beyond = [i for i in new if abs(nearest[i.photo.path].leaf - i.leaf) > reach]
    if _distinct(beyond, copies) < _MANY:
        return joined
    cut = _cut(beyond, spec, copies)
    for item in new:
        path, other = item.photo.path, nearest[item.photo.path]
        if path in cut or other.leaf == item.leaf:
            continue
        end = beyond[0] if other.leaf < item.leaf else beyond[-1]
        if cut[end.photo.path] != joined[path]:
            joined[path] = UNUSED
    return {**joined, **cut}


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
