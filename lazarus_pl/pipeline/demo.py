"""The verb ``lazarus demo``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.contact_sheet import contact_sheet
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.data.procedural.symptoms import SYMPTOMS
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.errors import LazarusError
from lazarus_pl.grid.grid_spec import GridSpec
from lazarus_pl.grid.run_grid import run_grid
from lazarus_pl.pipeline.classify import classify
from lazarus_pl.shipped_config import shipped_config

# no drawing of these was trained on
_UNSEEN_SEED_OFFSET = 1_000_000
_SHEET_COLUMNS = 8


def demo(out: Path = Path("lazarus-demo"), leaves: float = 1.0, seed: int = 0) -> None:
    """Does the whole main job on drawn leaves: no photos, no network.

    Draws leaves of seven classes, extracts their features with real ImageNet weights, trains the
    nine runs, ranks them, and classifies leaves that were never seen. A second call continues or
    repeats nothing.

    Args:
        out: Folder for everything.
        leaves: Factor of the number of leaves (154 at 1).
        seed: Another seed draws other leaves.
    """
    if seed < 0 or leaves <= 0:
        wrong = f"seed {seed}" if seed < 0 else f"leaves {leaves}"
        raise LazarusError(f"{wrong} cannot be: give a --seed of 0 or more and --leaves above 0")
    started = time.monotonic()
    dataset = ProceduralLeaves(_leaves(leaves), seed=seed)
    with _step(f"1/4 drawing {len(dataset)} photos of {len(SYMPTOMS)} classes"):
        photos = dataset.write(out / "leaves")
        _draw_sheet(dataset, out / "leaves.png")
    with _step("2/4 extracting features, in micro-jobs of 64 photos"):
        Extraction(photos, out / "cache", EncoderSpec(), SplitSpec(), make_engine).run()
    with _step("3/4 training three heads at three learning rates"):
        grid = shipped_config("grids/heads_3x3.yaml")
        summary = run_grid(GridSpec.from_file(grid), out / "cache", out / "run")
    print((out / "run" / "leaderboard.md").read_text(encoding="utf-8"))
    print(
        f"best on val: {summary['run']}; on test, read once: macro-F1 "
        f"{summary['test_macro_f1']:.3f}, accuracy {summary['test_accuracy']:.3f}\n"
    )
    with _step("4/4 classifying leaves that nobody has seen"):
        unseen = ProceduralLeaves(
            dict.fromkeys(SYMPTOMS, 3), photos_per_leaf=(1, 1), seed=seed + _UNSEEN_SEED_OFFSET
        )
        folder = unseen.write(out / "unseen")
        classify(out / "run" / "best.ckpt", folder, out / "predictions.csv")
    print(_what_next(out, time.monotonic() - started))


def _leaves(factor: float) -> Mapping[str, int]:
    from lazarus_pl.data.procedural.procedural_leaves import LEAVES

    return {label: max(4, round(count * factor)) for label, count in LEAVES.items()}


def _draw_sheet(dataset: ProceduralLeaves, path: Path) -> None:
    if path.exists():
        return
    rows = {
        label: [
            dataset.draw(index).pixels
            for index, shot in enumerate(dataset.shots)
            if shot.label == label and shot.number == 1
        ][:_SHEET_COLUMNS]
        for label in SYMPTOMS
    }
    with replace_file(path) as file:
        contact_sheet(rows).save(file, "PNG")


@contextmanager
def _step(title: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"{title} ...", flush=True)
    yield
    print(f"    done in {time.monotonic() - started:.0f} s\n", flush=True)


def _what_next(out: Path, seconds: float) -> str:
    return f"""All of it took {seconds:.0f} s. Where things lie:
  {out / "leaves.png"}            what was drawn
  {out / "run" / "leaderboard.md"}    the nine runs
  {out / "run" / "best.ckpt"}         the best one: encoder identity, statistics, class names
  {out / "predictions.csv"}       what it says of unseen leaves

What to type next:
  tensorboard --logdir {out / "run" / "runs"}
  lazarus classify --ckpt {out / "run" / "best.ckpt"} --data YOUR_PHOTOS
  lazarus extract --data YOUR_CLASS_FOLDERS --out CACHE
  lazarus grid -c {shipped_config("grids/heads_3x3.yaml")} --cache CACHE --out RUN"""
