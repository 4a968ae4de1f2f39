"""A few photos with maps of what speaks for their diagnosis."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.listing import Listed
from lazarus_pl.pipeline.run.run_settings import RunSettings

_LOG = logging.getLogger(__name__)
_LIST = "gallery.json"
_FROM_ROWS = ("picture", "second", "second_probability", "weak", "map_says")


@dataclass(frozen=True)
class Shown:
    """One photo of a gallery.

    Attributes:
        kind: ``hit``, ``miss`` or ``sample``.
        file: The photo's path relative to the data's folder.
        label: What it is.
        predicted: What the model that is shown says; nothing until it has been asked.
        probability: Of what it says.
        picture: The picture's path relative to the gallery's folder, once there is one.
        second: The class that is next, if there is one.
        second_probability: Of that class.
        marked: Share of the leaf that the map marks; 0 where that is not known.
        weak: Why the map should not be trusted; nothing where no reason is known.
        map_says: What the model that drew the map says, where that is another one.
    """

    kind: str
    file: str
    label: str
    predicted: str = ""
    probability: float = 0.0
    picture: str = ""
    second: str = ""
    second_probability: float = 0.0
    marked: float = 0.0
    weak: str = ""
    map_says: str = ""


def make_gallery(
    shown: Sequence[Shown],
    settings: RunSettings,
    checkpoint: Path,
    out: Path,
    told: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> list[Path]:
    """Explains photos, and writes ``gallery.json``; none of it is worth losing a score for.

    Args:
        shown: The photos.
        settings: Of the run.
        checkpoint: What draws the maps.
        out: The gallery's folder; emptied first.
        told: Probabilities by file that another model gives: its diagnoses are told, and maps are
            of its classes. None for those of the checkpoint.

    Returns:
        What was written.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    made: list[Shown] = []
    try:
        if shown:
            made = _explained(shown, settings, checkpoint, out, told)
    # a photo may be gone, a backbone may not be explainable
    except Exception as error:
        _LOG.warning("there will be no heat-maps in the report: %s", error)
        _LOG.debug("", exc_info=error)
    with replace_file(out / _LIST) as file:
        file.write(json.dumps([asdict(item) for item in made]).encode("utf-8", "surrogateescape"))
    return [out / _LIST, *(out / item.picture for item in made)]


def read_gallery(out: Path) -> list[Shown]:
    """What :func:`make_gallery` wrote; nothing where it did not."""
    try:
        return [Shown(**item) for item in json.loads((out / _LIST).read_bytes())]
    except (OSError, ValueError, TypeError):
        return []


def _explained(
    shown: Sequence[Shown],
    settings: RunSettings,
    checkpoint: Path,
    out: Path,
    told: Mapping[str, npt.NDArray[np.float32]] | None,
) -> list[Shown]:
    """Those that could be explained, with their pictures."""
    from lazarus_pl.pipeline.classifier import Classifier
    from lazarus_pl.pipeline.explain import explain_into, open_writer

    named = _copied(shown, settings.root, out / "photos")
    if not named:
        return []
    classifier = Classifier(
        checkpoint,
        settings.weights_file,
        settings.engine_options,
        photos=len(named),
    )
    listed = [Listed(name, item.label) for name, item in named.items()]
    said = None if told is None else {name: told[item.file] for name, item in named.items()}
    writer = open_writer(out, classifier)
    try:
        explain_into(writer, classifier, out / "photos", listed, None, (), said)
    # what was drawn until then is shown
    except Exception as error:
        _LOG.warning("not all photos of the report have a heat-map: %s", error)
        _LOG.debug("", exc_info=error)
    drawn = [row for row in writer.rows if not row["reason"] and (out / row["picture"]).is_file()]
    return [_completed(named[row["file"]], row) for row in drawn]


def _completed(item: Shown, row: Mapping[str, Any]) -> Shown:
    asked = {} if item.predicted else {name: row[name] for name in ("predicted", "probability")}
    known = {name: row[name] for name in _FROM_ROWS}
    # no head but one knows how much of a leaf it marks
    marked = row["severity"] if row["severity"] > 0 else 0.0
    return replace(item, **asked, **known, marked=marked)


def _copied(shown: Sequence[Shown], root: Path, folder: Path) -> dict[str, Shown]:
    """Photos by names that tell them apart, whatever characters their own have."""
    # Windows may have left it
    folder.mkdir(exist_ok=True)
    named: dict[str, Shown] = {}
    for number, item in enumerate(shown, start=1):
        name = f"{item.kind}-{number:02d}{Path(item.file).suffix.lower()}"
        try:
            shutil.copyfile(root / item.file, folder / name)
        except OSError as error:
            _LOG.warning("there is no heat-map of '%s': %s", item.file, error.strerror or error)
            continue
        named[name] = item
    return named
