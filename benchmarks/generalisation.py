"""What cached views are worth on photos of another day and another place.

    python benchmarks/generalisation.py --data PHOTOS --field FIELD --out WORK

Trains the shipped heads on plain photos, on views (``light``), on views with swapped backgrounds
(``field``), and attention with and without dropout of patches, with several seeds, and scores them
by macro-F1 on three sets that training and selection have not seen:

- ``test``: the last 15 % of each range of camera numbers; training has the first 70 %.
- ``far``: the same photos, but training has the first 40 % of each range, selection the next 15 %.
  It is harder for two reasons at once: the photos lie further away, and there are fewer to learn
  from.
- ``field``: photos of the same classes from elsewhere, by the models of ``test``.

The far split has a cache of its own, so that its views never show what surrounds a photo that it
leaves out. Intervals are those of Student's t over the seeds (95 %). What is done in WORK is not
done again.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jsonargparse.typing import Path_fr
from report import Row, report
from scipy.stats import t as student
from sklearn.metrics import f1_score

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.data.decode import read_pixels
from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.listing import Listed, list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.data.table import write_table
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.grid.grid_spec import GridSpec, Value
from lazarus_pl.grid.run_grid import run_grid
from lazarus_pl.pipeline.classifier import Classifier
from lazarus_pl.pipeline.classify import predict
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.load_task import load_task
from lazarus_pl.views.views_spec import ViewsSpec

_TRAIN, _VAL = 0.40, 0.55
_POLICIES: dict[str, str | None] = {"plain": None, "views": "light", "views + swap": "field"}
_DROPOUT: dict[str, Value] = {
    "": 0.0,
    " + patch dropout": 0.5,
}
_TTA = 4
_BATCH = 256

# features by layer, and labels
_Photos = tuple[dict[str, npt.NDArray[np.float16]], list[str]]


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--field", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    caches = {
        "test": _cache(options.data, options.out / "cache", options.views, SplitSpec()),
    }
    table = _far_table(options.data, caches["test"], options.out / "far.csv")
    caches["far"] = _cache(table, options.out / "far-cache", options.views, SplitSpec("predefined"))
    field = _encoded(options.field)
    scores: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    checkpoints: dict[tuple[str, str], Path] = {}
    for side, cache in caches.items():
        for name, overrides in _variants(options.views):
            out = options.out / side / name.replace(" ", "").replace("+", "-")
            for head, checkpoint in _train(name, overrides, cache, out, options.seeds):
                scores[name, head][side].append(_score(checkpoint, _test_side(cache)))
                if side == "test":
                    scores[name, head]["field"].append(_score(checkpoint, field))
                    checkpoints.setdefault((name, head), checkpoint)
    rows: list[Row] = [
        {"trained with": name, "head": head, **_intervals(by_set)}
        for (name, head), by_set in sorted(scores.items(), key=lambda item: item[0][1])
    ]
    about = {
        "views": options.views,
        "seeds": options.seeds,
        **{f"photos of {side}": _counts(cache) for side, cache in caches.items()},
        "photos of field": len(field[1]),
    }
    report("generalisation", rows, about)
    winner = "views + swap + patch dropout", "attention"
    tta = list(_tta(checkpoints[winner], options, caches["test"]))
    report("tta", tta, {"model": " ".join(winner)})


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
            {"data.init_args.views": views, "data.init_args.views_policy": policy} if policy else {}
        )
        for dropout, share in _DROPOUT.items():
            yield name + dropout, {**chosen, "model.init_args.head_options.patch_dropout": share}


def _train(
    name: str, overrides: dict[str, Value], cache: Path, out: Path, seeds: int
) -> list[tuple[str, Path]]:
    """Heads and their checkpoints; only attention knows of patches."""
    heads = ["attention"] if "dropout" in name else ["linear", "mlp", "attention"]
    results = []
    for head in heads:
        own = {k: v for k, v in overrides.items() if head == "attention" or "patch" not in k}
        configs = {head: Path_fr(str(shipped_config(f"heads/{head}.yaml")))}
        axes: dict[str, list[Value]] = {"seed_everything": list(range(seeds))}
        run_grid(GridSpec(configs, axes, own), cache, out / head)
        with (out / head / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
            results += [(head, out / head / row["checkpoint"]) for row in csv.DictReader(file)]
    return results


def _encoded(data: Path) -> _Photos:
    """All photos of a folder; too few of a class for a split, so no cache."""
    engine, (root, listed) = make_engine(EncoderSpec()), list_photos(data)
    identity = engine.identity
    size, interpolation = identity["image_size"], identity["interpolation"]
    photos = [item for item in listed if item.looks_like_a_photo and item.label]
    pixels = [read_pixels((root / item.path).read_bytes(), size, interpolation) for item in photos]
    return engine.encode(np.stack(pixels)), [str(item.label) for item in photos]


def _test_side(folder: Path) -> _Photos:
    cache = FeatureCache(folder)
    indices = cache.indices("test")
    features = {layer: cache.gather(layer, indices) for layer in cache.feature_shapes}
    return features, [cache.manifest.photos[index].label for index in indices]


@torch.inference_mode()
def _score(checkpoint: Path, photos: _Photos) -> float:
    """Macro-F1 over the classes that the photos have."""
    task, (features, truth) = load_task(checkpoint), photos
    predicted = []
    for start in range(0, len(truth), _BATCH):
        batch = {
            layer: torch.from_numpy(features[layer][start : start + _BATCH])
            for layer in task.feature_shapes
        }
        predicted.append(task(batch).argmax(1).numpy())
    return _macro_f1(truth, np.concatenate(predicted), task.class_names)


def _macro_f1(truth: list[str], predicted: npt.NDArray[np.int64], names: list[str]) -> float:
    labels = sorted(set(truth))
    told = [names[index] for index in predicted]
    return float(f1_score(truth, told, labels=labels, average="macro", zero_division=0))


def _intervals(by_set: dict[str, list[float]]) -> dict[str, float]:
    cells = {}
    for name, values in by_set.items():
        cells[name] = float(np.mean(values))
        spread = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
        cells[f"{name} ±"] = float(student.ppf(0.975, max(1, len(values) - 1)) * spread)
    return cells


def _far_table(data: Path, cache: Path, table: Path) -> Path:
    """The photos of the far split with their sides, as a table to extract from."""
    photos = Manifest.read(cache).photos
    rows = [
        (str((data / photo.path).resolve()), photo.label, side)
        for photo, side in zip(photos, _far_sides(photos), strict=True)
        if side
    ]
    write_table(table, ("path", "label", "split"), rows)
    return table


def _far_sides(photos: Sequence[Photo]) -> list[str]:
    """Sides by place in the range, none for what is left out; no leaf is on two sides.

    Train and val come out of train, test is test: what lies between them was a gap before.
    """
    places = _places(photos)
    in_train = {
        photo.group
        for photo, place in zip(photos, places, strict=True)
        if photo.split == "train" and place < _TRAIN
    }
    sides = []
    for photo, place in zip(photos, places, strict=True):
        if photo.split == "test":
            sides.append("test")
        elif photo.split != "train" or place >= _VAL:
            sides.append("")
        elif place < _TRAIN:
            sides.append("train")
        else:
            sides.append("" if photo.group in in_train else "val")
    return sides


def _places(photos: Sequence[Photo]) -> list[float]:
    """Where each photo lies in its range of camera numbers, 0 to 1."""
    numbers: dict[tuple[str, str], set[float]] = defaultdict(set)
    found = []
    for photo in photos:
        name = LeafName.of(photo.path)
        source = (photo.label, name.source if name else "")
        number = name.number if name else 0.0
        found.append((source, number))
        numbers[source].add(number)
    ranks = {
        source: {n: rank / len(known) for rank, n in enumerate(sorted(known))}
        for source, known in numbers.items()
    }
    return [ranks[source][number] for source, number in found]


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
            row[name] = _macro_f1(truth, np.array(best), list(classifier.class_names))
        yield {**row, "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    main()
