"""Train, val and test for every photo, so that no leaf is on two sides."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.near_duplicates import MAX_DISTANCE, near_duplicate_groups, nearest
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.balanced import deal_groups
from lazarus_pl.data.split.check_listed import group_of, side_of
from lazarus_pl.data.split.fill_empty_sides import fill_empty_sides, too_few
from lazarus_pl.data.split.leaf_ranges import BURST, Numbered, split_ranges
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.data.split.unite import find_copies, unite
from lazarus_pl.errors import LazarusError

_LOG = logging.getLogger(__name__)
# of a class: copies may join so much of it to one block
_LARGEST_SHARE = 0.1
_LARGEST = 3 * BURST


def assign_splits(
    photos: Sequence[Photo], spec: SplitSpec, settled: Mapping[str, str] | None = None
) -> list[Photo]:
    """Fills ``group`` and ``split`` of every photo.

    Photos with the same bytes, and those of one group, end on one side; some may be unused. Only
    ``predefined`` keeps groups where the data puts them.

    Args:
        photos: All photos of the dataset, with their labels.
        spec: Strategy and its settings.
        settled: Sides of paths that the same settings gave before: they stay, whatever comes.

    Returns:
        The photos in the same order.

    Raises:
        LazarusError: If a class cannot have a photo on every side, or what the strategy needs
            (groups, predefined sides) is missing.
    """
    settled = settled or {}
    _check_classes(photos, spec)
    strategy = {
        "leaf": _leaf,
        "grouped": _grouped,
        "predefined": _predefined,
        "random": _random,
    }[spec.strategy]
    sides, groups = strategy(photos, spec, settled)
    if spec.strategy == "predefined":
        sides = _unite_duplicates(photos, sides)
    else:
        copies = find_copies(photos, settled)
        sides, groups, blocks = unite(
            photos, sides, groups, settled, copies, _largest_block(photos, spec)
        )
        sides = fill_empty_sides(photos, spec, sides, blocks, settled)
    _check_sides(photos, spec, sides)
    return [replace(p, split=sides[p.path], group=groups[p.path]) for p in photos]


def _largest_block(photos: Sequence[Photo], spec: SplitSpec) -> float:
    """Groups that a person named are joined without bounds, those guessed from names are not."""
    if spec.strategy != "leaf":
        return math.inf
    fewest = min(Counter(photo.label for photo in photos).values())
    return max(_LARGEST, _LARGEST_SHARE * fewest)


_Assignment = tuple[dict[str, str], dict[str, str]]


def _leaf(photos: Sequence[Photo], spec: SplitSpec, settled: Mapping[str, str]) -> _Assignment:
    numbered: list[Numbered] = []
    unnumbered: list[Photo] = []
    for photo in photos:
        name = LeafName.of(photo.path)
        if name is None:
            unnumbered.append(photo)
        else:
            numbered.append(Numbered(photo, name))
    sides, groups = split_ranges(numbered, spec, settled, find_copies(photos, settled))
    if unnumbered:
        _LOG.warning(
            "%d of %d file names carry no running number: those photos are grouped by near "
            "duplicates instead, which cannot see two different photos of one leaf",
            len(unnumbered),
            len(photos),
        )
        alike = _near_duplicates(unnumbered, spec)
        beside = _beside(unnumbered, alike, [item.photo for item in numbered], spec)
        sizes, largest = Counter(alike.values()), _largest_block(photos, spec)
        for photo in unnumbered:
            like = beside.get(alike[photo.path])
            # one likeness is no reason to take much of a class to another side
            if like is None or sizes[alike[photo.path]] > largest:
                continue
            if settled.get(photo.path, sides[like]) == sides[like]:
                sides[photo.path], groups[photo.path] = sides[like], groups[like]
        others = [photo for photo in unnumbered if photo.path not in sides]
        groups.update({photo.path: alike[photo.path] for photo in others})
        sides.update(deal_groups(others, alike, spec, settled))
    return sides, groups


def _beside(
    photos: Sequence[Photo], groups: Mapping[str, str], numbered: Sequence[Photo], spec: SplitSpec
) -> dict[str, str]:
    """The numbered photo of the same class that a group has a near copy of, by group."""
    found: dict[str, str] = {}
    for label in sorted({photo.label for photo in photos}):
        mine = sorted((p for p in photos if p.label == label), key=lambda photo: photo.path)
        theirs = sorted((p for p in numbered if p.label == label), key=lambda photo: photo.path)
        # where all look alike, a likeness tells nothing
        if _alike([*mine, *theirs], len(spec.sides))[1] < MAX_DISTANCE:
            continue
        near = nearest([p.phash for p in mine], [p.phash for p in theirs])
        for one, other in near.items():
            found.setdefault(groups[mine[one].path], theirs[other].path)
    return found


def _near_duplicates(photos: Sequence[Photo], spec: SplitSpec) -> dict[str, str]:
    by_label: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo)
    groups: dict[str, str] = {}
    stricter: list[str] = []
    for label, members in by_label.items():
        members.sort(key=lambda photo: photo.path)
        indices, distance = _alike(members, len(spec.sides))
        if distance < MAX_DISTANCE:
            stricter.append(label)
        first: dict[int, str] = {}
        for index, photo in zip(indices, members, strict=True):
            groups[photo.path] = f"{label}~{first.setdefault(index, photo.path)}"
    if stricter:
        _LOG.warning(
            "the photos of %d classes, such as '%s', look so much alike that only closer ones were "
            "kept together: photos of one leaf may be on two sides; --split.strategy grouped "
            "with --split.regex or a 'group' column tells leaves apart",
            len(stricter),
            stricter[0],
        )
    return groups


def _alike(members: Sequence[Photo], needed: int) -> tuple[list[int], int]:
    """Near-duplicate groups, stricter where fewer are left than are needed, and the distance."""
    phashes = [photo.phash for photo in members]
    for distance in (MAX_DISTANCE, 2, 0):
        indices: list[int] = near_duplicate_groups(phashes, distance).tolist()
        if len(set(indices)) >= needed:
            break
    return indices, distance


def _grouped(photos: Sequence[Photo], spec: SplitSpec, settled: Mapping[str, str]) -> _Assignment:
    groups = {photo.path: group_of(photo, spec) for photo in photos}
    return deal_groups(photos, _with_duplicates(photos, groups), spec, settled), groups


def _with_duplicates(photos: Sequence[Photo], groups: Mapping[str, str]) -> dict[str, str]:
    """Joins groups that share the same bytes."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.get(name, name) != name:
            name = parent[name]
        return name

    owner: dict[str, str] = {}
    for photo in photos:
        group = root(groups[photo.path])
        first = root(owner.setdefault(photo.sha256, group))
        if first != group:
            parent[max(first, group)] = min(first, group)
    return {path: root(group) for path, group in groups.items()}


def _predefined(
    photos: Sequence[Photo], spec: SplitSpec, settled: Mapping[str, str]
) -> _Assignment:
    sides = {photo.path: side_of(photo, spec) for photo in photos}
    return sides, {photo.path: photo.group or photo.sha256[:16] for photo in photos}


def _random(photos: Sequence[Photo], spec: SplitSpec, settled: Mapping[str, str]) -> _Assignment:
    _LOG.warning(
        "a random split puts photos of one leaf on both sides: its scores flatter; "
        "use --split.strategy leaf for figures that hold on new leaves"
    )
    groups = {photo.path: photo.sha256[:16] for photo in photos}
    return deal_groups(photos, groups, spec, settled), groups


def _check_classes(photos: Sequence[Photo], spec: SplitSpec) -> None:
    counts = Counter(photo.label for photo in photos)
    if len(counts) < 2:
        only = f"only one class, '{next(iter(counts))}'" if counts else "no usable photo"
        raise LazarusError(
            f"there is {only}: a classifier needs photos of at least two classes, "
            "each in a folder of its own"
        )
    needed = len(spec.sides)
    label, count = min(counts.items(), key=lambda item: item[1])
    if count < needed and spec.strategy != "predefined":
        raise too_few(label, count, needed)


def _unite_duplicates(photos: Sequence[Photo], sides: Mapping[str, str]) -> dict[str, str]:
    first: dict[str, str] = {}
    return {p.path: first.setdefault(p.sha256, sides[p.path]) for p in photos}


def _check_sides(photos: Sequence[Photo], spec: SplitSpec, sides: Mapping[str, str]) -> None:
    present = {(photo.label, sides[photo.path]) for photo in photos}
    needed = ("train", "val") if spec.strategy == "predefined" else spec.sides
    for label in sorted({photo.label for photo in photos}):
        for side in needed:
            if (label, side) not in present:
                raise LazarusError(
                    f"class '{label}' has no photo in {side}: add photos of it, take its folder "
                    "out, or choose another --split.strategy"
                )
