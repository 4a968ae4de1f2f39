"""A photo of every class on every side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.split_spec import UNUSED, SplitSpec
from lazarus_pl.errors import LazarusError


def fill_empty_sides(
    photos: Sequence[Photo],
    spec: SplitSpec,
    sides: Mapping[str, str],
    blocks: Mapping[str, str],
    settled: Mapping[str, str],
) -> dict[str, str]:
    """Gives a small class's last blocks to the sides where it has none.

    Args:
        photos: All photos.
        spec: Which sides there are.
        sides: Of each path.
        blocks: What each path must stay together with.
        settled: Sides of paths that were given before: they stay.

    Returns:
        The sides of the paths.

    Raises:
        LazarusError: If a class has nothing to give.
    """
    sides = dict(sides)
    by_label: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo)
    for members in by_label.values():
        members.sort(key=lambda photo: photo.path)
    fixed = {blocks[photo.path] for photo in photos if photo.path in settled}
    for label, members in sorted(by_label.items()):
        for side in spec.sides:
            if any(sides[photo.path] == side for photo in members):
                continue
            moved = _spare_block(members, sides, blocks, fixed)
            if moved is None:
                raise _cannot_fill(label, side, members, blocks, settled, len(spec.sides))
            sides.update({p.path: side for p in photos if blocks[p.path] == moved})
    return sides


def _spare_block(
    members: Sequence[Photo],
    sides: Mapping[str, str],
    blocks: Mapping[str, str],
    fixed: Collection[str],
) -> str | None:
    """The last block that may move from the side with most blocks; none may lose its only one."""
    of_side: dict[str, dict[str, None]] = defaultdict(dict)
    for photo in members:
        if sides[photo.path] != UNUSED:
            of_side[sides[photo.path]][blocks[photo.path]] = None
    for found in sorted(of_side.values(), key=len, reverse=True):
        movable = [block for block in found if block not in fixed]
        if movable and len(found) > 1:
            return movable[-1]
    return None


def _cannot_fill(
    label: str,
    side: str,
    members: Sequence[Photo],
    blocks: Mapping[str, str],
    settled: Mapping[str, str],
    needed: int,
) -> LazarusError:
    if any(photo.path in settled for photo in members):
        return LazarusError(
            f"class '{label}' has no photo left in {side}, and its others stay on the sides where "
            "they are: add photos of it, or split anew with another --out or --split.seed"
        )
    return too_few(label, len({blocks[photo.path] for photo in members}), needed)


def too_few(label: str, count: int, needed: int) -> LazarusError:
    """What to say of a class that has less than there are sides."""
    return LazarusError(
        f"class '{label}' has {count} photo(s) or leaf group(s) for {needed} splits: "
        "add photos of it or take its folder out"
    )
