"""Copies and leaf groups on one side, whatever a strategy made of them."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.split_spec import SIDES, UNUSED

_LOG = logging.getLogger(__name__)


class United(NamedTuple):
    """A split without leaks.

    Attributes:
        sides: The side of each path.
        groups: The leaf group of each path; none has photos on two sides beside ``unused``.
        blocks: What each path must stay together with: photos of one block share its name.
    """

    sides: dict[str, str]
    groups: dict[str, str]
    blocks: dict[str, str]


def find_copies(photos: Sequence[Photo], settled: Mapping[str, str]) -> dict[str, str]:
    """Which photos repeat the bytes of another one.

    Returns:
        The path of the first photo by the path of its copy. A settled photo comes first, one that
        is settled on a side before one that is settled as unused.
    """

    def place(photo: Photo) -> tuple[int, str]:
        side = settled.get(photo.path)
        return (2 if side is None else int(side == UNUSED)), photo.path

    first: dict[str, str] = {}
    copies: dict[str, str] = {}
    for photo in sorted(photos, key=place):
        if first.setdefault(photo.sha256, photo.path) != photo.path:
            copies[photo.path] = first[photo.sha256]
    return copies


def unite(
    photos: Sequence[Photo],
    sides: Mapping[str, str],
    groups: Mapping[str, str],
    settled: Mapping[str, str],
    copies: Mapping[str, str],
    largest: float = math.inf,
) -> United:
    """Puts copies, and all photos of their groups, on one side.

    A settled photo stays and draws the others to its side; else the side with most of them wins.
    Where a copy and its group are settled apart, or its place says nothing of its leaf, the copy
    is a stray: it joins its twin, and its group stays where it is.

    Args:
        photos: All photos.
        sides: What the strategy gave each path.
        groups: Leaf group of each path.
        settled: Sides of paths that were given before.
        copies: What :func:`find_copies` says.
        largest: If groups are guesses: most photos that copies may join to one block. A copy that
            would join more, or that lies among copies only, is a stray.
    """
    out = dict(sides) | {p.path: settled[p.path] for p in photos if p.path in settled}
    names = _told_apart(photos, out, groups, settled)
    whole = {names[p.path] for p in photos if p.path not in copies}
    blocks = _Blocks(Counter(names.values()), largest)
    own: dict[str, str] = {}
    twins: dict[str, str] = {}
    for photo in sorted(photos, key=lambda p: (p.path not in settled, p.path in copies, p.path)):
        path, group, digest = photo.path, names[photo.path], photo.sha256
        own[path] = group
        if out[path] == UNUSED:
            continue
        if path in settled:
            blocks.fix(group, out[path])
            blocks.join(group, digest)
        elif settled.get(copies.get(path, path)) == UNUSED:
            out[path], names[path] = UNUSED, names[copies[path]]
        elif digest in twins and (
            (group not in whole and largest < math.inf) or not blocks.join(group, digest)
        ):
            names[path] = names[twins[digest]]
            own[path] = digest
        else:
            blocks.join(group, digest)
        if out[path] != UNUSED:
            twins.setdefault(digest, path)
    roots = {path: blocks.find(name) for path, name in own.items()}
    winners = _winners(roots, out, copies)
    for path, root in roots.items():
        if path not in settled and out[path] != UNUSED:
            out[path] = blocks.side(root) or winners[root]
    united = United(out, names, roots)
    for photo in photos:
        if photo.path not in settled and out[photo.path] == UNUSED and photo.sha256 in twins:
            # a copy in a gap is no secret to the side that shows its twin
            for table in united:
                table[photo.path] = table[twins[photo.sha256]]
    return united


def _winners(
    roots: Mapping[str, str], sides: Mapping[str, str], copies: Container[str]
) -> dict[str, str]:
    """The side of most photos of each block; a copy's place says little of where its leaf lies."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for path, root in roots.items():
        votes[root][sides[path]] += 1 if path in copies else len(roots)
    return {root: max(SIDES, key=lambda side: found[side]) for root, found in votes.items()}


def _told_apart(
    photos: Sequence[Photo],
    sides: dict[str, str],
    groups: Mapping[str, str],
    settled: Mapping[str, str],
) -> dict[str, str]:
    """Splits the names of groups that are settled on several sides; their new photos go unused."""
    held: dict[str, set[str]] = defaultdict(set)
    for photo in photos:
        if settled.get(photo.path, UNUSED) != UNUSED:
            held[groups[photo.path]].add(settled[photo.path])
    torn = {group for group, found in held.items() if len(found) > 1}
    if not torn:
        return dict(groups)
    _LOG.warning(
        "%d groups, such as '%s', join photos that were settled on different sides, where they "
        "stay, and their new photos are left unused: to keep them together, split anew with "
        "another --out or --split.seed",
        len(torn),
        min(torn),
    )
    names = dict(groups)
    for photo in photos:
        if groups[photo.path] in torn:
            sides[photo.path] = settled.get(photo.path, UNUSED)
            names[photo.path] = f"{groups[photo.path]} ({sides[photo.path]})"
    return names


class _Blocks:
    """Groups and digests joined to blocks, each with the side that a settled photo fixes."""

    def __init__(self, sizes: Mapping[str, int], largest: float) -> None:
        self._parent: dict[str, str] = {}
        self._side: dict[str, str] = {}
        self._size = Counter(sizes)
        self._largest = largest

    def find(self, name: str) -> str:
        while (parent := self._parent.get(name, name)) != name:
            self._parent[name] = self._parent.get(parent, parent)
            name = parent
        return name

    def side(self, name: str) -> str:
        """The fixed side, or nothing."""
        return self._side.get(self.find(name), "")

    def fix(self, name: str, side: str) -> None:
        self._side.setdefault(self.find(name), side)

    def join(self, one: str, other: str) -> bool:
        """Joins two blocks, unless their sides differ or they are too large together."""
        left, right = sorted((self.find(one), self.find(other)))
        if left == right:
            return True
        size = self._size[left] + self._size[right]
        both = self._size[left] and self._size[right]
        if len({self.side(left), self.side(right)} - {""}) > 1 or (both and size > self._largest):
            return False
        side = self.side(left) or self.side(right)
        self._parent[right] = left
        self._size[left] = size
        if side:
            self._side[left] = side
        return True
