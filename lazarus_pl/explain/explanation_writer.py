"""Files of an explanation: pictures, arrays, a table, sheets and a page."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import numpy.typing as npt

from lazarus_pl.data.atomic import NOTHING_CAN_BE_WRITTEN, replace_file
from lazarus_pl.data.contact_sheet import contact_sheet
from lazarus_pl.data.table import Cell, write_table
from lazarus_pl.explain.photo_maps import PhotoMaps
from lazarus_pl.explain.picture import as_png, overlay, picture, to_be_seen
from lazarus_pl.plain_name import plain_name
from lazarus_pl.templates import templates
from lazarus_pl.usable_cores import usable_cores

Pixels = npt.NDArray[np.uint8]

_COLUMNS = (
    "file",
    "predicted",
    "probability",
    "target",
    "severity",
    "outside",
    "effective_patches",
    "deletion",
    "insertion",
    "completeness_error",
    "weak",
    "map",
    "reason",
)
_TABLE = "explanations.csv"
_SEPARATORS = re.compile(r"[/\\]")
# by Windows, and by memory cards wherever they are
_REFUSED = re.compile(r'[<>:"|?*\x00-\x1f]')
_SHEET = 24
_SHEET_ROW = 8
_SIDE = 192
_QUALITY = 90
# in bytes: file systems take 255, and a file under way has a longer name
_LONGEST_NAME = 160
# photos whose files may wait for a thread
_UNDER_WAY = 32


class ExplanationWriter:
    """Writes one photo after the other, and at the end what is about all of them.

    Args:
        out: The folder.
        class_names: In the order of the probabilities.
        meaning: What the map that is shown measures.

    Attributes:
        out: The folder.
    """

    def __init__(self, out: Path, class_names: Sequence[str], meaning: str) -> None:
        self.out = out
        self._names = class_names
        self._meaning = meaning
        self._rows: list[dict[str, Any]] = []
        self._stems: set[str] = set()
        self._sheets: dict[str, list[Future[Pixels]]] = defaultdict(list)
        self._threads = ThreadPoolExecutor(usable_cores())
        self._under_way: deque[tuple[dict[str, Any], Future[Pixels]]] = deque()
        self._error: OSError | None = None
        # of an earlier call; what is not ours stays
        if (out / _TABLE).is_file():
            for sheet in (out / "sheets").glob("*.jpg"):
                sheet.unlink()
        for folder in ("maps", "pictures", "sheets"):
            (out / folder).mkdir(parents=True, exist_ok=True)

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One a file so far, in their order.

        Beside the columns of ``explanations.csv``: ``picture``, its path relative to the folder;
        ``second`` and ``second_probability``, of the class that is next, if there is one; and
        ``map_says``, the class that the map's model would name where another's is told.
        """
        return self._rows

    def add(
        self,
        file: str,
        pixels: Pixels,
        maps: PhotoMaps,
        told: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Has ``maps/<stem>.npz`` and ``pictures/<stem>.png`` written by another thread.

        Args:
            file: The photo's path as it was listed.
            pixels: The photo upright, RGB ``(H, W, 3)``.
            maps: Of the photo.
            told: Probabilities ``(K,)`` of another model, whose diagnosis is told; None for that of
                the maps.

        Raises:
            OSError: If nothing more can be written.
        """
        said = maps.probability if told is None else told
        stem, order = self._stem(file), (-said).argsort(kind="stable")
        name, chance = self._names[order[0]], float(said[order[0]])
        target = self._names[maps.target]
        words = (f"{plain_name(name)}  {chance:.0%}", self._second_line(maps, said, order, target))
        written = self._threads.submit(self._write, stem, pixels, maps, name, chance, words)
        if len(self._sheets[target]) < _SHEET:
            self._sheets[target].append(written)
        row = {
            "file": file,
            "predicted": name,
            "probability": chance,
            "target": target,
            "severity": maps.severity,
            "outside": maps.outside,
            "effective_patches": maps.effective_patches,
            "deletion": maps.deletion,
            "insertion": maps.insertion,
            "completeness_error": maps.completeness,
            "weak": maps.weak,
            "map": f"maps/{stem}.npz",
            "reason": "",
            "picture": f"pictures/{stem}.png",
            "second": self._names[order[1]] if len(order) > 1 else "",
            "second_probability": float(said[order[1]]) if len(order) > 1 else 0.0,
            "map_says": "" if told is None else self._names[int(maps.probability.argmax())],
        }
        self._rows.append(row)
        self._under_way.append((row, written))
        if len(self._under_way) > _UNDER_WAY:
            self._settle()

    def _settle(self) -> None:
        """Waits for the files of the earliest photo that is under way."""
        row, written = self._under_way.popleft()
        try:
            written.result()
        except OSError as error:
            row |= {"map": "", "picture": "", "reason": f"cannot be written: {error.strerror}"}
            self._error = self._error or error
            if error.errno in NOTHING_CAN_BE_WRITTEN:
                raise

    def _write(
        self,
        stem: str,
        pixels: Pixels,
        maps: PhotoMaps,
        name: str,
        chance: float,
        words: tuple[str, str],
    ) -> Pixels:
        """Returns the photo's place on a sheet."""
        with replace_file(self.out / "maps" / f"{stem}.npz") as arrays:
            np.savez(
                arrays,
                attention=maps.attention,
                evidence=maps.evidence,
                attribution=maps.attribution,
                grad_cam=maps.grad_cam,
                lesions=maps.lesions,
                predicted=np.array(name),
                target=np.array(self._names[maps.target]),
                probability=np.float32(chance),
                severity=np.float32(maps.severity),
            )
        photo, most = to_be_seen(pixels), float(maps.shown.max())
        laid_over_it = overlay(photo, maps.shown)
        with replace_file(self.out / "pictures" / f"{stem}.png") as image:
            image.write(as_png(picture(photo, laid_over_it, words, most, self._meaning)))
        return cv2.resize(laid_over_it, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(
            np.uint8
        )

    def refuse(self, file: str, reason: str) -> None:
        """Notes a file that cannot be explained."""
        self._rows.append(dict.fromkeys(_COLUMNS, "") | {"file": file, "reason": reason})

    def finish(self) -> None:
        """Waits for the photos' files, and writes the table, a sheet a class and ``index.html``.

        Raises:
            OSError: If a file could not be written; the others are.
        """
        self._threads.shutdown()
        while self._under_way:
            self._settle()
        cells = ([_cell(row[name]) for name in _COLUMNS] for row in self._rows)
        write_table(self.out / _TABLE, _COLUMNS, cells)
        for name, written in self._sheets.items():
            pictures = [each.result() for each in written if each.exception() is None]
            if not pictures:
                continue
            rows = {
                f"{plain_name(name)}{' ' * start}": pictures[start : start + _SHEET_ROW]
                for start in range(0, len(pictures), _SHEET_ROW)
            }
            with replace_file(self.out / "sheets" / f"{_file_name(name)}.jpg") as sheet:
                contact_sheet(rows, _SIDE).save(sheet, "JPEG", quality=_QUALITY)
        self._write_page()
        if self._error is not None:
            raise self._error

    def _write_page(self) -> None:
        classes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self._rows:
            if not row["reason"]:
                classes[plain_name(row["target"])].append(row)
        environment = templates(Path(__file__).parent, address=_address)
        page = environment.get_template("index.html.jinja").render(
            classes=dict(sorted(classes.items())),
            count=sum(map(len, classes.values())),
            meaning=f"{self._meaning[0].upper()}{self._meaning[1:]}.",
        )
        with replace_file(self.out / "index.html") as file:
            # a file name need not be text
            file.write(page.encode("utf-8", "replace"))

    def _second_line(
        self,
        maps: PhotoMaps,
        said: npt.NDArray[np.float32],
        order: npt.NDArray[np.intp],
        target: str,
    ) -> str:
        parts = []
        if len(order) > 1:
            parts.append(f"next {plain_name(self._names[order[1]])} {said[order[1]]:.0%}")
        if maps.target != order[0]:
            parts.append(f"map of {plain_name(target)}")
        if maps.sound:
            parts.append("healthy: nothing is marked")
        if maps.severity > 0:
            parts.append(f"{maps.severity:.0%} of the leaf marked")
        if maps.weak:
            parts.append("weak map")
        return ", ".join(parts)

    def _stem(self, file: str) -> str:
        """The photo's stem; where folders repeat it, with as many of them as tell it apart."""
        parts = Path(file).with_suffix("").parts
        stems = [_file_name("__".join(parts[-count:])) for count in range(1, len(parts) + 1)]
        numbered = (f"{stems[-1]}_{number}" for number in itertools.count(2))
        # Windows and macOS take names for one that differ in capitals alone
        stem = next(
            each for each in itertools.chain(stems, numbered) if each.casefold() not in self._stems
        )
        self._stems.add(stem.casefold())
        return stem


def _cell(value: Cell) -> Cell:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.4f}"


def _address(path: str) -> str:
    # a file name need not be text
    return quote(path.encode("utf-8", "surrogateescape"))


def _file_name(name: str) -> str:
    """As the photo's; a digest stands for the end of one that has no room for what is added."""
    name = _SEPARATORS.sub("__", _REFUSED.sub("_", name))
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= _LONGEST_NAME:
        return name
    return f"{raw[:_LONGEST_NAME].decode(errors='ignore')}-{sha256(raw).hexdigest()[:8]}"
