"""Groups dealt out so that every class has its share on every side."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.split_spec import SIDES, SplitSpec

Sides = dict[str, str]


def deal_groups(
    photos: Sequence[Photo],
    groups: Mapping[str, str],
    spec: SplitSpec,
    settled: Mapping[str, str],
) -> Sides:
    """Gives each group the side that its classes lack most.

    Large groups first, equal ones in an order drawn from the seed. What is settled stays, so
    adding photos moves nothing.

    Args:
        photos: All photos.
        groups: Group of each path.
        spec: Fractions and seed.
        settled: Sides of paths that were dealt before; new photos of their groups follow them.

    Returns:
        The side of each path.
    """
    members: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        members[groups[photo.path]].append(photo)
    totals = Counter(photo.label for photo in photos)
    dealt: Counter[tuple[str, str]] = Counter()
    sides: Sides = {}

    def put(group: str, side: str) -> None:
        for photo in members[group]:
            sides[photo.path] = settled.get(photo.path, side)
            dealt[photo.label, sides[photo.path]] += 1

    known = {
        group: side
        for group, photos_of_group in members.items()
        if (side := _settled_side(photos_of_group, settled))
    }
    for group, side in known.items():
        put(group, side)
    new = members.keys() - known.keys()
    for group in sorted(new, key=lambda name: (-len(members[name]), _draw(spec.seed, name))):
        put(group, _neediest(members[group], totals, dealt, spec))
    return sides


def _settled_side(photos: Sequence[Photo], settled: Mapping[str, str]) -> str:
    found = {settled.get(photo.path) for photo in photos}
    return next((side for side in SIDES if side in found), "")


def _neediest(
    group: Sequence[Photo],
    totals: Mapping[str, int],
    dealt: Mapping[tuple[str, str], int],
    spec: SplitSpec,
) -> str:
    labels = Counter(photo.label for photo in group)

    def lack(side: str) -> float:
        share = spec.fractions[SIDES.index(side)]
        return sum(
            count * (share - dealt[label, side] / totals[label]) / share
            for label, count in labels.items()
        )

    return max(spec.sides, key=lack)


def _draw(seed: int, text: str) -> str:
    # group names can hold file names, which need not be text
    return hashlib.sha256(f"{seed}:{text}".encode(errors="surrogateescape")).hexdigest()
