"""Train, val and test for every photo, so that no leaf is on two sides."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.near_duplicates import near_duplicate_groups
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.balanced import deal_groups
from lazarus_pl.data.split.leaf_ranges import Numbered, split_ranges
from lazarus_pl.data.split.split_spec import SIDES, UNUSED, SplitSpec
from lazarus_pl.errors import LazarusError

_LOG = logging.getLogger(__name__)
# bits in which the perceptual hashes of near duplicates may differ, the last come what may
_DISTANCES = (6, 2, 0)
_SYNONYMS = {
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "training": "train",
    "testing": "test",
}


def assign_splits(
    photos: Sequence[Photo], spec: SplitSpec, settled: Mapping[str, str] | None = None
) -> list[Photo]:
    """Fills ``group`` and ``split`` of every photo.

    Photos with the same bytes always end on one side, whatever the strategy.

    Args:
        photos: All photos of the dataset, with their labels.
        spec: Strategy and its settings.
        settled: Sides of paths that the same settings gave before: they stay.

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
    if spec.strategy != "predefined":
        sides = _fill_empty_sides(photos, spec, sides, groups, settled)
    sides, groups = _unite_duplicates(photos, sides, groups, settled)
    _check_sides(photos, spec, sides)
    return [replace(p, split=sides[p.path], group=groups[p.path]) for p in photos]


def split_name(text: str) -> str:
    """The side that a folder or a table names: ``valid`` and ``validation`` are ``val``."""
    name = text.strip().lower()
    return _SYNONYMS.get(name, name)


_Assignment = tuple[dict[str, str], dict[str, str]]


def _leaf(photos: Sequence[Photo], spec: SplitSpec, settled: Mapping[str, str]) -> _Assignment:
    numbered: list[Numbered] = []
    unnumbered: list[Photo] = []
    for photo in photos:
        name = LeafName.parse(photo.path.rsplit("/", 1)[-1].rsplit(".", 1)[0])
        if name is None:
            unnumbered.append(photo)
        else:
            numbered.append(Numbered(photo, name))
    sides, groups = split_ranges(numbered, spec, settled)
    if unnumbered:
        _LOG.warning(
            "%d of %d file names carry no running number: those photos are grouped by near "
            "duplicates instead, which cannot see two different photos of one leaf",
            len(unnumbered),
            len(photos),
        )
        alike = _near_duplicates(unnumbered)
        groups.update(alike)
        sides.update(deal_groups(unnumbered, alike, spec, settled))
    return sides, groups


def _near_duplicates(photos: Sequence[Photo]) -> dict[str, str]:
    by_label: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo)
    groups: dict[str, str] = {}
    for label, members in by_label.items():
        members.sort(key=lambda photo: photo.path)
        first: dict[int, str] = {}
        for index, photo in zip(_alike(members), members, strict=True):
            groups[photo.path] = f"{label}~{first.setdefault(int(index), photo.path)}"
    return groups


def _alike(members: Sequence[Photo]) -> Sequence[int]:
    """Near-duplicate groups, stricter where a loose threshold joins nearly a whole class."""
    phashes = [photo.phash for photo in members]
    indices: list[int] = []
    for distance in _DISTANCES:
        indices = near_duplicate_groups(phashes, distance).tolist()
        if max(Counter(indices).values()) <= len(members) / 2:
            return indices
    _LOG.warning(
        "most photos of class '%s' look the same: only those with equal perceptual hashes are "
        "kept together",
        members[0].label,
    )
    return indices


def _grouped(photos: Sequence[Photo], spec: SplitSpec, settled: Mapping[str, str]) -> _Assignment:
    groups = {photo.path: _group_of(photo, spec) for photo in photos}
    return deal_groups(photos, _with_duplicates(photos, groups), spec, settled), groups


def _group_of(photo: Photo, spec: SplitSpec) -> str:
    if spec.regex is None:
        if not photo.group:
            raise LazarusError(
                f"the split strategy 'grouped' finds no group for '{photo.path}': give "
                "--split.regex, or a table with a 'group' column"
            )
        return photo.group
    match = re.search(spec.regex, photo.path)
    if match is None:
        raise LazarusError(
            f"the split regex '{spec.regex}' does not match '{photo.path}': every photo needs a "
            "group"
        )
    return match.group(1) if match.re.groups else match.group(0)


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
    sides: dict[str, str] = {}
    for photo in photos:
        side = split_name(photo.split)
        if side not in SIDES:
            found = f"'{photo.split}'" if photo.split else "no split"
            raise LazarusError(
                f"the split strategy 'predefined' finds {found} for '{photo.path}': put the photos "
                "into train, val and test folders, or give a table with a 'split' column"
            )
        sides[photo.path] = side
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
        raise _too_few(label, count, needed)


def _too_few(label: str, count: int, needed: int) -> LazarusError:
    return LazarusError(
        f"class '{label}' has {count} photo(s) or leaf group(s) for {needed} splits: "
        "add photos of it or take its folder out"
    )


def _fill_empty_sides(
    photos: Sequence[Photo],
    spec: SplitSpec,
    sides: dict[str, str],
    groups: Mapping[str, str],
    settled: Mapping[str, str],
) -> dict[str, str]:
    """Gives a small class's last groups to the sides where it has none."""
    by_label: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo)
    fixed = {groups[photo.path] for photo in photos if photo.path in settled}
    for label, members in by_label.items():
        for side in spec.sides:
            if any(sides[photo.path] == side for photo in members):
                continue
            groups_of_side: dict[str, list[str]] = defaultdict(list)
            for photo in members:
                held = groups_of_side[sides[photo.path]]
                if groups[photo.path] not in (*fixed, *held):
                    held.append(groups[photo.path])
            donor = max(groups_of_side, key=lambda name: len(groups_of_side[name]))
            if len(groups_of_side[donor]) < 2 and any(p.path in settled for p in members):
                raise LazarusError(
                    f"class '{label}' has no photo left in {side}, and the sides of the others are "
                    "settled: divide them anew with another --split.seed, or add photos of it"
                )
            if len(groups_of_side[donor]) < 2:
                raise _too_few(
                    label,
                    len(set(map(groups.__getitem__, (p.path for p in members)))),
                    len(spec.sides),
                )
            moved = groups_of_side[donor][-1]
            sides.update({p.path: side for p in photos if groups[p.path] == moved})
    return sides


def _unite_duplicates(
    photos: Sequence[Photo],
    sides: Mapping[str, str],
    groups: Mapping[str, str],
    settled: Mapping[str, str],
) -> _Assignment:
    """Brings groups that share a photo's bytes to one side.

    What is settled stays. Where that is on two sides, a new copy goes to its twin, and the rest of
    its new neighbours are left unused: they show a leaf of either side.
    """
    united = _with_duplicates(photos, groups)
    members: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        members[united[photo.path]].append(photo)
    out, names = dict(sides), dict(groups)
    for together in members.values():
        if len({groups[photo.path] for photo in together}) < 2:
            continue
        firm = {settled[p.path] for p in together if p.path in settled} - {UNUSED}
        new = [photo for photo in together if photo.path not in settled]
        if len(firm) < 2:
            side = next(iter(firm), "") or _first_side(together, sides)
            out.update(dict.fromkeys((photo.path for photo in new), side))
            continue
        twins = {p.sha256: p for p in together if settled.get(p.path, UNUSED) != UNUSED}
        for photo in new:
            twin = twins.get(photo.sha256)
            out[photo.path] = UNUSED if twin is None else settled[twin.path]
            names[photo.path] = groups[photo.path] if twin is None else groups[twin.path]
    return out, names


def _first_side(photos: Sequence[Photo], sides: Mapping[str, str]) -> str:
    return next((sides[p.path] for p in photos if sides[p.path] != UNUSED), UNUSED)


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
