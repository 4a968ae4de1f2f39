"""What it is worth to train the chosen model again on the photos of val, and of test.

    python benchmarks/refit.py --data PHOTOS --out WORK

The last quarter of each photographer's range of camera numbers is held back, with a gap before it:
photos that come later than all that the run is given. ``lazarus run`` with ``--refit.all_photos``
gets the rest, and each of its three models of one kind is scored on what it did not see: the one
that was chosen, which learnt from train; ``best.ckpt``, which learnt from train and val; and
``deploy.ckpt``, which learnt from all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from far_split import places_of
from report import Row, folder_of, report
from scored_photos import encoded, score

from lazarus_pl.cli import main as lazarus
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.table import write_table
from lazarus_pl.tasks.read_checkpoint import read_checkpoint

# of each range: what the run is given, and where what comes later begins
_GIVEN, _LATER = 0.72, 0.75
_MODELS = {"train": "choose/chosen.ckpt", "train, val": "best.ckpt", "all": "deploy.ckpt"}
_WAYS: dict[str, tuple[str, ...]] = {"run": (), "run, no fine-tuning": ("--finetune.skip",)}


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    given, later = _tables(options.data, options.out)
    photos = encoded(later)
    rows: list[Row] = []
    for way, words in _WAYS.items():
        out = folder_of(options.out, way)
        asked = ("--audit.skip", "--gallery=0", "--refit.all_photos=true", *words)
        if lazarus(["run", "--data", str(given), "--out", str(out), *asked]):
            raise SystemExit(f"{way} failed")
        for learnt, name in _MODELS.items():
            task = read_checkpoint(out / name)["lazarus"]["task"]
            macro_f1 = score(out / name, photos)
            rows.append({"way": way, "task": task, "learnt from": learnt, "later": macro_f1})
    report("refit", rows, {"photos given": _GIVEN, "later photos from": _LATER})


def _tables(data: Path, out: Path) -> tuple[Path, Path]:
    """Tables of the photos that the run is given, and of those that come later."""
    root, listed = list_photos(data)
    photos = [(str((root / item.path).resolve()), str(item.label)) for item in listed]
    placed = list(zip(photos, places_of(photos), strict=True))
    out.mkdir(parents=True, exist_ok=True)
    parts = {
        "given": [photo for photo, place in placed if place < _GIVEN],
        "later": [photo for photo, place in placed if place >= _LATER],
    }
    for name, rows in parts.items():
        write_table(out / f"{name}.csv", ("path", "label"), rows)
    return out / "given.csv", out / "later.csv"


if __name__ == "__main__":
    main()
