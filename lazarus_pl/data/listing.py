"""Which photos a dataset has, before any of them is opened."""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Literal

from lazarus_pl.data.csv_delimiter import csv_delimiter
from lazarus_pl.data.decode import SUFFIXES
from lazarus_pl.data.split.split_spec import SIDES, split_name
from lazarus_pl.errors import LazarusError

_LOG = logging.getLogger(__name__)

# what phones and cameras write beside JPEG
_OTHER_PICTURES = frozenset(
    {".heic", ".heif", ".avif", ".gif", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
)

LabelFrom = Literal["path", "top", "parent"]
_TABLES = frozenset({".csv", ".parquet"})


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that should be a photo.

    Attributes:
        path: Relative to the root with forward slashes, or absolute if outside it.
        label: Class name, empty if the data names none.
        group: Leaf group, empty if the data names none.
        split: Side, empty if the data names none.
    """

    path: str
    label: str
    group: str = ""
    split: str = ""

    @property
    def looks_like_a_photo(self) -> bool:
        """Whether the file name's suffix is a photo's."""
        return self.suffix in SUFFIXES

    @property
    def suffix(self) -> str:
        """Of the file's name, in small letters."""
        return PurePosixPath(self.path).suffix.lower()

    @property
    def refusal(self) -> str:
        """Why the file's name alone rules it out; nothing if it does not."""
        if self.looks_like_a_photo:
            return ""
        if self.suffix in _OTHER_PICTURES:
            return f"{self.suffix[1:].upper()} is not read: save it as JPEG"
        return "its name is not that of a photo"


def list_photos(data: Path, label_from: LabelFrom = "path") -> tuple[Path, list[Listed]]:
    """Lists a folder of class folders, a CSV or Parquet table, or a single photo.

    In a folder, hidden files are skipped, links to files are followed, links to folders are not.
    Folders that all photos share are not part of the label, nor are train, val and test folders
    on top. A folder name that is no text becomes a label with its odd bytes written out.

    Args:
        data: A folder; a table with the columns ``path`` (absolute, or relative to the table's
            folder) and ``label``, and optionally ``group`` and ``split``; or one photo.
        label_from: For a folder: the label is the ``path`` of folders (``Tomato/Late_blight``),
            the ``top`` folder only, or the ``parent`` folder only.

    Returns:
        The root that paths are relative to, and the files in the order of their paths.

    Raises:
        LazarusError: If there is no such folder or file, or it holds nothing.
    """
    if not data.exists():
        raise LazarusError(
            f"'{data}' does not exist: give a folder of class folders, a table or a photo"
        )
    if data.is_dir():
        root, listed = data, _from_folder(data, label_from)
    elif data.suffix.lower() in _TABLES:
        root, listed = data.parent, _from_table(data)
    elif data.suffix.lower() in SUFFIXES | _OTHER_PICTURES:
        root, listed = data.parent, [Listed(data.name, "")]
    else:
        raise LazarusError(
            f"'{data}' is neither a folder, a .csv or .parquet table, nor a photo: "
            "give a folder of class folders"
        )
    _check_photos(data, listed)
    return root, sorted(listed, key=lambda item: item.path)


def check_classes(data: Path, listed: Sequence[Listed]) -> None:
    """Refuses data in which no photo has a class.

    Args:
        data: The folder or table.
        listed: What it holds that no correction excludes.

    Raises:
        LazarusError: If there is no label at all, or no photo is left.
    """
    if not listed:
        raise LazarusError(f"the corrections exclude every photo of '{data}': keep some of them")
    if not any(item.label for item in listed if item.looks_like_a_photo):
        raise LazarusError(
            f"the photos of '{data}' have no class: put those of each class into a folder of its "
            "own and give the folder that holds these, or give a table"
        )


def check_sides(listed: Sequence[Listed]) -> None:
    """Refuses data in which the side of the split is part of the class.

    Args:
        listed: As :func:`list_photos` gives it, before anybody corrects it.

    Raises:
        LazarusError: If photos lie in class folders beside some of train, val and test.
    """
    labelled = [item for item in listed if item.label and item.looks_like_a_photo]
    tops = {label: split_name(label.split("/")[0]) for label in {item.label for item in labelled}}
    sides = sorted(set(SIDES) & set(tops.values()))
    beside = next((item for item in labelled if tops[item.label] not in SIDES), None)
    if len(sides) > 1 and beside is not None:
        raise LazarusError(
            f"'{beside.path}' lies beside folders for {' and '.join(sides)}, so that these would "
            "be classes: move it into one of them, or out of the data"
        )


def _check_photos(data: Path, listed: Sequence[Listed]) -> None:
    if any(item.looks_like_a_photo for item in listed):
        return
    if not listed and data.suffix.lower() in _TABLES:
        raise LazarusError(
            f"'{data}' has no rows: give a table with the columns path and label, one row a photo"
        )
    other = next((item for item in listed if item.suffix in _OTHER_PICTURES), None)
    way_out = "give a folder of photos, one folder a class where they have classes"
    if other:
        way_out = f"'{other.path}': {other.refusal}"
    raise LazarusError(f"'{data}' holds no photo (JPEG, PNG, WebP, BMP or TIFF): {way_out}")


def _from_folder(folder: Path, label_from: LabelFrom) -> list[Listed]:
    files = list(_walk(folder))
    # a photo in no folder has no class, whatever the others have
    photos = [p for p in files if p.suffix.lower() in SUFFIXES and len(p.parts) > 1]
    shared = _shared_folders([path.parts[:-1] for path in photos])
    split_depth = _has_split_folders([path.parts[shared:-1] for path in photos])
    listed = []
    for path in files:
        folders = path.parts[shared:-1]
        split = ""
        if split_depth and folders:
            split, folders = split_name(folders[0]), folders[1:]
        listed.append(Listed(path.as_posix(), _label(folders, label_from), split=split))
    return listed


def _walk(folder: Path) -> Iterator[PurePosixPath]:
    def fail(error: OSError) -> None:
        raise LazarusError(
            f"'{error.filename}' cannot be listed: {error.strerror}; check its permissions"
        ) from error

    links: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links += [link for name in folders if (link := Path(parent, name)).is_symlink()]
        relative = PurePosixPath(Path(parent).relative_to(folder).as_posix())
        yield from (relative / name for name in files if not name.startswith("."))
    if links:
        _LOG.warning(
            "%d links to folders are not followed, such as '%s': copy or mount what they point to",
            len(links),
            links[0],
        )


def _shared_folders(folders: Sequence[tuple[str, ...]]) -> int:
    """How many leading folders all photos share; the last folder of a path stays a label."""
    levels = zip(*folders, strict=False)
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))
    return min([shared, *(len(parts) - 1 for parts in folders)])


def _has_split_folders(folders: Sequence[tuple[str, ...]]) -> bool:
    tops = {split_name(parts[0]) if parts else "" for parts in folders}
    return len(tops) > 1 and tops <= set(SIDES)


def _label(folders: tuple[str, ...], label_from: LabelFrom) -> str:
    if not folders:
        return ""
    named = {"top": folders[0], "parent": folders[-1], "path": "/".join(folders)}[label_from]
    return named.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _from_table(table: Path) -> list[Listed]:
    rows = _csv_rows(table) if table.suffix.lower() == ".csv" else _parquet_rows(table)
    seen: dict[str, Listed] = {}
    for number, row in enumerate(rows, start=2):
        missing = {"path", "label"} - row.keys()
        if missing:
            raise LazarusError(
                f"'{table}' has no column '{sorted(missing)[0]}': its columns must be path and "
                "label, and may be group and split"
            )
        if not row["path"] or not row["label"]:
            raise LazarusError(f"'{table}' has no path or no label in row {number}: fill it in")
        if "\0" in row["path"]:
            raise LazarusError(f"'{table}' is damaged: the path in row {number} holds a NUL byte")
        path = _relative(row["path"], table.parent)
        listed = Listed(path, row["label"], row.get("group") or "", row.get("split") or "")
        if path in seen and seen[path] != listed:
            raise LazarusError(
                f"'{table}' names '{row['path']}' twice, differently: keep one of the rows"
            )
        seen[path] = listed
    return list(seen.values())


def _csv_rows(table: Path) -> Iterator[dict[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, delimiter=csv_delimiter(file)):
                yield {key.strip(): (value or "").strip() for key, value in row.items() if key}
    except (UnicodeDecodeError, csv.Error) as error:
        raise LazarusError(f"'{table}' is no CSV in UTF-8: {error}; save it as such") from error


def _parquet_rows(table: Path) -> list[dict[str, str]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise LazarusError(
            f"'{table}' needs pyarrow to be read: pip install 'lazarus-pl[parquet]', or give a CSV"
        ) from error
    try:
        rows = parquet.read_table(table).to_pylist()
    # pyarrow raises OSError of damaged pages too
    except (ArrowException, OSError) as error:
        raise LazarusError(f"'{table}' cannot be read as a Parquet file: {error}") from error
    return [{key.strip(): _cell(value) for key, value in row.items()} for row in rows]


def _cell(value: object) -> str:
    """As it would stand in a CSV file; NaN is how pandas says that there is nothing."""
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if is_missing else str(value).strip()


def _relative(text: str, root: Path) -> str:
    path = Path(text.replace("\\", "/"))
    if path.is_absolute() and path.is_relative_to(root.resolve()):
        path = path.relative_to(root.resolve())
    return path.as_posix()
