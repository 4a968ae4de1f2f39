"""A few photos with the maps of where a checkpoint read its diagnosis."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lazarus_pl.data.atomic import replace_file

_LOG = logging.getLogger(__name__)
_LIST = "gallery.json"


@dataclass(frozen=True)
class Shown:
    """One photo of a gallery.

    Attributes:
        kind: ``hit``, ``miss`` or ``sample``.
        file: The photo's path relative to the data's folder.
        label: What it is.
        predicted: What the checkpoint says, or nothing.
        probability: Of what it says.
        picture: The picture's path relative to the gallery's folder, once there is one.
    """

    kind: str
    file: str
    label: str
    predicted: str = ""
    probability: float = 0.0
    picture: str = ""


def make_gallery(
    shown: Sequence[Shown], root: Path, checkpoint: Path, out: Path, weights: str | None = None
) -> list[Path]:
    """Explains photos, and writes ``gallery.json``; none of it is worth losing a score for.

    Args:
        shown: The photos.
        root: What their paths are relative to.
        checkpoint: Whose diagnosis is explained.
        out: The gallery's folder; emptied first.
        weights: File of the encoder's weights, where the extraction was given one.

    Returns:
        What was written.
    """
    from lazarus_pl.pipeline.explain import explain

    shutil.rmtree(out, ignore_errors=True)
    made: list[Shown] = []
    try:
        (out / "photos").mkdir(parents=True, exist_ok=True)
        for number, item in enumerate(shown, start=1):
            # a number tells photos of the same name apart, whatever characters that has
            stem = f"{item.kind}-{number:02d}"
            suffix = Path(item.file).suffix.lower()
            shutil.copyfile(root / item.file, out / "photos" / f"{stem}{suffix}")
            made.append(Shown(**{**asdict(item), "picture": f"pictures/{stem}.png"}))
        if made:
            with contextlib.redirect_stdout(io.StringIO()):
                explain(checkpoint, out / "photos", out, weights=weights)
    # a photo may be gone, a backbone may not be explainable
    except Exception as error:
        _LOG.warning("there will be no heat-maps in the report: %s", error)
        _LOG.debug("", exc_info=error)
    made = [item for item in made if (out / item.picture).is_file()]
    out.mkdir(parents=True, exist_ok=True)
    with replace_file(out / _LIST) as file:
        file.write(json.dumps([asdict(item) for item in made]).encode("utf-8", "surrogateescape"))
    return [out / _LIST, *(out / item.picture for item in made)]


def read_gallery(out: Path) -> list[Shown]:
    """What :func:`make_gallery` wrote; nothing where it did not."""
    try:
        return [Shown(**item) for item in json.loads((out / _LIST).read_bytes())]
    except (OSError, ValueError, TypeError):
        return []
