"""From a folder of photos to its manifest, again and again."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lazarus_pl.data.check_same_data import check_same_data
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.listing import LabelFrom, Listed, check_classes, check_sides, list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.data.scan import scan_photos
from lazarus_pl.data.split.assign_splits import assign_splits
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.errors import LazarusError
from lazarus_pl.progress import Progress

_LOG = logging.getLogger(__name__)
_PARTIAL = "scan"
_SECONDS_BETWEEN_SAVES = 10.0
_NAMED = 3


def build_manifest(
    data: Path,
    folder: Path,
    split: SplitSpec,
    label_from: LabelFrom = "path",
    keep_sides: bool = False,
    corrections: Corrections | None = None,
    before_writing: Callable[[], None] = lambda: None,
) -> tuple[Path, Manifest]:
    """Scans and splits a dataset and writes its manifest into a folder.

    What a manifest in the folder knows already is not read again: files with the same size and
    modification time. A killed scan continues where it was ten seconds earlier.

    Args:
        data: Folder of class folders, or table.
        folder: Where ``manifest.csv`` and ``quarantine.csv`` are written.
        split: How photos are divided.
        label_from: How labels are read off folders.
        keep_sides: Leave every photo of the manifest in the folder on the side it has there, also
            if it was moved or renamed.
        corrections: Other labels and exclusions than the data's.
        before_writing: Called when nothing can go wrong any more but writing.

    Returns:
        The root that the photos' paths are relative to, and the manifest.

    Raises:
        LazarusError: If the folder is of other data, there is no usable photo, or the split cannot
            be made. Without a usable photo, or a split, the quarantine is
            written all the same.
    """
    root, listed = list_photos(data, label_from)
    check_sides(listed)
    listed, excluded = (corrections or Corrections()).apply(listed)
    check_classes(data, listed)
    check_same_data(data, root, listed, folder)
    before = tuple(Manifest.read_photos(folder)) if (folder / "manifest.csv").exists() else ()
    photos, rejected = _scan(root, listed, folder, before)
    labelled = [photo for photo in photos if photo.label]
    rejected += [
        Rejected(photo.path, "", "lies in no class folder, so it has no label")
        for photo in photos
        if not photo.label
    ]
    rejected += excluded
    quarantine = tuple(sorted(rejected, key=lambda item: item.path))
    Manifest((), quarantine).write_quarantine(folder)
    if not labelled:
        raise LazarusError(
            f"none of the {len(listed)} files of '{data}' is a usable photo in a class folder: "
            f"the reasons stand in '{folder / 'quarantine.csv'}'"
        )
    _warn_of_unused_columns(labelled, split)
    settled = _settled(before, labelled) if keep_sides else {}
    try:
        manifest = Manifest(tuple(assign_splits(labelled, split, settled)), quarantine)
    except LazarusError as error:
        raise _with_quarantine(error, quarantine, folder) from error
    before_writing()
    manifest.write(folder)
    shutil.rmtree(folder / _PARTIAL, ignore_errors=True)
    _warn(manifest, folder)
    return root, manifest


def leave_scan(photos: Sequence[Photo], folder: Path) -> None:
    """Leaves photos that were opened elsewhere, so that they are not opened again here.

    As a killed scan would have: what changes meanwhile is opened all the same.

    Args:
        photos: As :func:`~lazarus_pl.data.scan.inspect_photo` found them.
        folder: That of :func:`build_manifest`; made if it is not there.
    """
    (folder / _PARTIAL).mkdir(parents=True, exist_ok=True)
    Manifest(tuple(photos)).write(folder / _PARTIAL)


def _settled(before: Sequence[Photo], now: Sequence[Photo]) -> dict[str, str]:
    """Sides of photos that are what they were, be it elsewhere.

    Another photo under the same name is a new one, and so is a copy of one that is still there.
    """
    listed = {(photo.path, photo.sha256) for photo in now}
    settled: dict[str, str] = {}
    moved: dict[str, set[str]] = {}
    for photo in before:
        if (photo.path, photo.sha256) in listed:
            settled[photo.path] = photo.split
        else:
            moved.setdefault(photo.sha256, set()).add(photo.split)
    for photo in now:
        sides = moved.get(photo.sha256, set())
        if photo.path not in settled and len(sides) == 1:
            settled[photo.path] = next(iter(sides))
    return settled


def _with_quarantine(
    error: LazarusError, quarantine: Sequence[Rejected], folder: Path
) -> LazarusError:
    if not quarantine:
        return error
    return LazarusError(
        f"{error}; {len(quarantine)} files cannot be used, and the reasons stand in "
        f"'{folder / 'quarantine.csv'}'"
    )


def _scan(
    root: Path, listed: Sequence[Listed], folder: Path, before: Sequence[Photo]
) -> tuple[list[Photo], list[Rejected]]:
    partial = folder / _PARTIAL
    known = {photo.path: photo for photo in (*_read_partial(partial), *before)}
    found: list[Photo] = []
    saved = time.monotonic()

    def note(result: Photo | Rejected) -> None:
        nonlocal saved
        progress.advance()
        if isinstance(result, Photo):
            found.append(result)
        if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
            partial.mkdir(exist_ok=True)
            Manifest(tuple(found)).write(partial)
            saved = time.monotonic()

    with Progress("scanning", len(listed), "photos") as progress:
        return scan_photos(root, listed, known, note)


def _read_partial(partial: Path) -> Sequence[Photo]:
    if not partial.exists():
        return ()
    try:
        return Manifest.read(partial).photos
    except LazarusError:
        return ()


def _warn_of_unused_columns(photos: Sequence[Photo], split: SplitSpec) -> None:
    """Tells of sides and groups that the data names and the strategy does not use."""
    used = {"predefined": "split", "grouped": "group"}.get(split.strategy, "")
    for column, strategy in (("split", "predefined"), ("group", "grouped")):
        if column != used and all(getattr(photo, column) for photo in photos):
            _LOG.warning(
                "the data names a %s for every photo, which --split.strategy %s does not use: "
                "--split.strategy %s does",
                column,
                split.strategy,
                strategy,
            )


def _warn(manifest: Manifest, folder: Path) -> None:
    if manifest.quarantine:
        _LOG.warning(
            "%d files cannot be used: the reasons stand in '%s'",
            len(manifest.quarantine),
            folder / "quarantine.csv",
        )
    conflicts = manifest.conflicts()
    for same in conflicts[:_NAMED]:
        names = " and ".join(f"'{photo.path}'" for photo in same)
        _LOG.warning("the same bytes under different labels: %s", names)
    if len(conflicts) > _NAMED:
        _LOG.warning("the same bytes under different labels: %d more", len(conflicts) - _NAMED)
