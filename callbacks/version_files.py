"""The files of :class:`~callbacks.checkpoint_versions.CheckpointVersions`."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException

INDEX = "versions.json"

# what the index says of one file, by key
Version = dict[str, Any]
_KEYS = {"version", "epoch", "phase", "metric", "parent", "why", "file"}


def is_whole(path: Path) -> bool:
    """Whether a checkpoint file is there to its last byte: a zip with all its checksums right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def read_versions(folder: Path) -> list[Version]:
    """What a folder's ``versions.json`` says of the files that are there.

    Raises:
        MisconfigurationException: If it is no list of versions, or does not say all of each.
    """
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        entries: list[Version] = json.loads(index.read_text(encoding="utf-8"))
        there = [entry for entry in entries if (folder / entry["file"]).is_file()]
    except (ValueError, KeyError, TypeError) as error:
        raise MisconfigurationException(
            f"'{index}' is no list of versions ({error}): move it away or take another dirpath"
        ) from error
    if not all(map(_is_version, there)):
        raise MisconfigurationException(
            f"'{index}' does not say all of each version: it is damaged, move it away"
        )
    return there


def _is_version(entry: Version) -> bool:
    """Whether an entry says all that is asked of it, in the types that it is written in."""
    if not entry.keys() >= _KEYS:
        return False
    file, why = entry["file"], entry["why"]
    return (
        isinstance(entry["version"], int)
        # beside the index: it may be deleted
        and file == Path(file).name
        and isinstance(why, list)
        and all(isinstance(reason, str) for reason in why)
        and isinstance(entry["metric"], int | float | None)
    )


def write_versions(folder: Path, entries: list[Version]) -> None:
    """Writes ``versions.json`` in one step.

    Raises:
        OSError: If the disk is full or the folder cannot be written to.
    """
    index = folder / INDEX
    temporary = index.with_name(f"{INDEX}.tmp")
    temporary.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    temporary.replace(index)


def link_or_copy(name: Path, file: Path) -> None:
    """Makes a second name of a file, without a moment at which the name is missing.

    Raises:
        OSError: If the disk is full or the folder cannot be written to.
    """
    if name.exists() and name.samefile(file):
        return
    temporary = name.with_name(f"{name.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(file, temporary)
    except OSError:
        shutil.copyfile(file, temporary)
    temporary.replace(name)
