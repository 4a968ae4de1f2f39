"""What cached views are worth on photos of another day and another place.

    python benchmarks/generalisation.py --data PHOTOS --field FIELD --out WORK

Trains the shipped heads on plain photos, on views (``light``), on views with swapped backgrounds
(``field``), attention with dropout of half the patches and without, with several seeds, and scores
them by macro-F1 on sets that training and selection have not seen. Attention trains as
``configs/heads/attention_views.yaml`` says, without views too: for as many epochs. The sets:

- ``test``: the last 15 % of each range of camera numbers; training has the first 70 %.
- ``far``: the same photos, but training has the first 40 % of each range, selection the next 15 %.
  It is harder for two reasons at once: the photos lie further away, and there are fewer to learn
  from.
- ``session-0``, ``session-1``: one session of camera numbers of each class that has several;
  training has the others (``session_split.py``).
- ``field``: photos of the same classes from elsewhere, by the models of ``test``.

Each split has a cache of its own, so that its views never show what surrounds a photo that it
leaves out. Intervals are those of Student's t over the seeds (95 %). What is done in WORK is not
done again.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from further_split import FURTHER, further_table
from jsonargparse.typing import Path_fr
from report import Row, half_width, report
from scored_photos import encoded, macro_f1, score, test_side

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.listing import Listed, list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.grid.grid_spec import GridSpec, Value
from lazarus_pl.grid.run_grid import run_grid
from lazarus_pl.pipeline.classifier import Classifier
from lazarus_pl.pipeline.classify import predict
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.views.views_spec import ViewsSpec

_POLICIES: dict[str, str | None] = {"plain": None, "views": "light", "views + swap": "field"}
_ALL_PATCHES = ", all patches"
_PATCH_DROPOUT = "model.init_args.head_options.patch_dropout"
_DROPOUT: dict[str, Value] = {"": 0.5, _ALL_PATCHES: 0.0}
_HEADS = {"linear": "linear", "mlp": "mlp", "attention": "attention_views"}
_SETS = ("test", *FURTHER)
_TTA = 4


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--field", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="*", default=["test", "session-0"], choices=_SETS)
    options = parser.parse_args()
    first = _cache(options.data, options.out / "cache", options.views, SplitSpec())
    caches = {side: _cache_of(side, first, options) for side in options.sets}
    field = encoded(options.field)
    scores: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    checkpoints: dict[tuple[str, str], Path] = {}
    for side, cache in caches.items():
        for name, overrides in _variants(options.views):
            out = options.out / side / name.replace(" ", "").replace("+", "-").replace(",", "-")
            for head, checkpoint in _train(name, overrides, cache, out, options.seeds):
                scores[name, head][side].append(score(checkpoint, test_side(cache)))
                if side == "test":
                    scores[name, head]["field"].append(score(checkpoint, field))
                    checkpoints.setdefault((name, head), checkpoint)
    rows: list[Row] = [
        {"trained with": name, "head": head, **_intervals(by_set)}
        for (name, head), by_set in sorted(scores.items(), key=lambda item: item[0][1])
    ]
    about = {
        "views": options.views,
        "seeds": options.seeds,
        **{f"photos of {side}": _counts(cache) for side, cache in caches.items()},
        "photos of field": len(field[1]) if "test" in caches else 0,
    }
    report("generalisation", rows, about)
    winner = "views + swap", "attention"
    if winner in checkpoints:
        tta = list(_tta(checkpoints[winner], options, first))
        report("tta", tta, {"model": " ".join(winner)})


def _cache_of(side: str, first: Path, options: argparse.Namespace) -> Path:
    """The cache of a set's split; ``first`` is that of test."""
    if side == "test":
        return first
    table = further_table(side, options.data, first, options.out / f"{side}.csv")
    out = options.out / f"{side}-cache"
    return _cache(table, out, options.views, SplitSpec("predefined"))


def _cache(data: Path, out: Path, views: int, split: SplitSpec) -> Path:
    """Plain photos and the views of every policy."""
    for policy in _POLICIES.values():
        asked = ViewsSpec(views, policy) if policy else None
        Extraction(data, out, EncoderSpec(), split, make_engine, views=asked, say=print).run()
    return out


def _counts(cache: Path) -> str:
    sides = Counter(photo.split for photo in Manifest.read(cache).photos)
    return ", ".join(f"{side} {count}" for side, count in sorted(sides.items()))


def _variants(views: int) -> Iterator[tuple[str, dict[str, Value]]]:
    for name, policy in _POLICIES.items():
        chosen: dict[str, Value] = (
            {"data.init_args.views": views, "data.init_args.views_policy": policy}
            if policy
            else {"data.init_args.views": 0}
        )
        for suffix, share in _DROPOUT.items():
            yield name + suffix, {**chosen, _PATCH_DROPOUT: share}


def _train(
    name: str, overrides: dict[str, Value], cache: Path, out: Path, seeds: int
) -> list[tuple[str, Path]]:
    """Heads and their checkpoints; only attention knows of patches."""
    heads = ["attention"] if name.endswith(_ALL_PATCHES) else list(_HEADS)
    results = []
    for head in heads:
        own = {k: v for k, v in overrides.items() if head == "attention" or k != _PATCH_DROPOUT}
        config = Path_fr(str(shipped_config(f"heads/{_HEADS[head]}.yaml")))
        axes: dict[str, list[Value]] = {"seed_everything": list(range(seeds))}
        run_grid(GridSpec({head: config}, axes, own), cache, out / head)
        with (out / head / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
            results += [(head, out / head / row["checkpoint"]) for row in csv.DictReader(file)]
    return results


def _intervals(by_set: dict[str, list[float]]) -> dict[str, float]:
    cells = {}
    for name, values in by_set.items():
        cells[name] = float(np.mean(values))
        cells[f"{name} ±"] = half_width(values)
    return cells


def _tta(
    checkpoint: Path, options: argparse.Namespace, cache: Path
) -> Iterator[dict[str, str | int | float]]:
    """Scores and time of single photos and of photos with views beside them."""
    test = [photo for photo in Manifest.read(cache).photos if photo.split == "test"]
    root, listed = list_photos(options.field)
    sets = {
        "test": (options.data, [Listed(photo.path, photo.label) for photo in test]),
        "field": (root, [item for item in listed if item.looks_like_a_photo and item.label]),
    }
    for count in (0, _TTA):
        classifier = Classifier(checkpoint, views=ViewsSpec(count, "light") if count else None)
        row: dict[str, str | int | float] = {"views at test time": count}
        started = time.perf_counter()
        for name, (folder, items) in sets.items():
            told = list(predict(classifier, folder, items))
            best = [item.probability.argmax() for item in told if item.probability is not None]
            truth = [item.label for item in told if item.probability is not None]
            row[name] = macro_f1(truth, np.array(best), list(classifier.class_names))
        yield {**row, "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    main()
