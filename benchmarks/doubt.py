"""What doubt is worth: on val and test, on photos without a leaf, and on leaves of a field.

Everything that decides is fitted on val; the other photos are only measured.

    python benchmarks/doubt.py --cache CACHE --background PHOTOS --field PHOTOS --ckpt CKPT ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from report import Row, report
from torch import Tensor
from torch.nn.functional import normalize

from lazarus_pl.data.decode import read_bytes
from lazarus_pl.data.listing import list_photos
from lazarus_pl.doubt.calibrate import COVERAGE, FALSE_ALARM, fit_doubt
from lazarus_pl.doubt.doubt import Doubt
from lazarus_pl.doubt.leaf_quantile import leaf_quantile
from lazarus_pl.doubt.readings import Readings
from lazarus_pl.pipeline.classifier import Classifier

_NEIGHBOURS = 10


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--background", type=Path, required=True, help="photos without a leaf")
    parser.add_argument("--field", type=Path, required=True, help="class folders of other photos")
    parser.add_argument("--ckpt", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    rows: list[Row] = []
    scores: list[Row] = []
    for path in arguments.ckpt:
        classifier = Classifier(path)
        train = Readings.of_side(classifier.task, arguments.cache, "train", 2048)
        sides = {
            side: Readings.of_side(classifier.task, arguments.cache, side)
            for side in ("val", "test")
        }
        sides["background"] = photos(classifier, arguments.background)
        sides["field"] = photos(classifier, arguments.field)
        name = f"{type(classifier.task).__name__} {classifier.task.hparams['head']}"
        for coverage in (0.9, COVERAGE):
            doubt = fit_doubt(classifier.task, arguments.cache, coverage, FALSE_ALARM)
            rows += [measured(name, doubt, side, readings) for side, readings in sides.items()]
        scores += compared(name, train, sides, doubt)
    about = {"false alarm on val": FALSE_ALARM, "checkpoints": len(arguments.ckpt)}
    report("doubt", rows, about)
    report("doubt_scores", scores, about)


def photos(classifier: Classifier, folder: Path) -> Readings:
    """Reads photos; those of no known class have the target -1."""
    root, listed = list_photos(folder)
    found = [item for item in listed if item.looks_like_a_photo]
    names = classifier.class_names
    parts = []
    for start in range(0, len(found), 16):
        batch = found[start : start + 16]
        pixels = np.stack([classifier.read(read_bytes(root / item.path)) for item in batch])
        with torch.inference_mode():
            parts.append(Readings.of(classifier.task, classifier.features(pixels)))
    target = [names.index(item.label) if item.label in names else -1 for item in found]
    return Readings(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.features for part in parts]),
        torch.tensor(target),
    )


def measured(name: str, doubt: Doubt, side: str, readings: Readings) -> Row:
    """Shares that are answered, unsure and unknown; what needs a known class is - without."""
    named = bool((readings.target >= 0).all())
    target = readings.target.clamp_min(0)
    figures = doubt.measure(Readings(readings.logits, readings.features, target))
    needing = (
        *("accuracy", "accuracy_answered", "coverage"),
        *("calibration_error_before", "calibration_error"),
    )
    kept = ("answered", "unsure", "unknown", "set_size")
    row: dict[str, str | int | float] = {
        "checkpoint": name,
        "asked": doubt.coverage,
        "photos": side,
    }
    row |= {key: _rounded(figures[key]) for key in kept}
    return row | {key: _rounded(figures[key]) if named else "-" for key in needing}


def _rounded(value: float | None) -> str | float:
    return "-" if value is None else round(value, 4)


def compared(name: str, train: Readings, sides: dict[str, Readings], doubt: Doubt) -> list[Row]:
    """Other scores of strangeness, each with the limit that val sets."""
    center = train.features.mean(dim=0)
    classes = range(len(train.logits[0]))
    means = torch.stack([train.features[train.target == label].mean(dim=0) for label in classes])
    whitening = doubt.distance.whitening
    unit = normalize(train.features, dim=1)

    def one_gaussian(readings: Readings) -> Tensor:
        distances: Tensor = doubt.distance(readings.features)
        return distances

    def by_class(readings: Readings) -> Tensor:
        return torch.cdist(readings.features @ whitening, means @ whitening).amin(dim=1)

    def length(readings: Readings) -> Tensor:
        lengths: Tensor = torch.linalg.vector_norm(readings.features - center, dim=1)
        return lengths

    def neighbour(readings: Readings) -> Tensor:
        near = torch.cdist(normalize(readings.features, dim=1), unit)
        farthest: Tensor = near.kthvalue(_NEIGHBOURS, dim=1).values
        return farthest

    def energy(readings: Readings) -> Tensor:
        return -readings.logits.logsumexp(dim=1)

    def probability(readings: Readings) -> Tensor:
        return -readings.logits.softmax(dim=1).amax(dim=1)

    ways = {
        "Mahalanobis, one Gaussian (ours)": one_gaussian,
        "Mahalanobis, to the nearest class": by_class,
        "length of the standardised features": length,
        f"{_NEIGHBOURS}th neighbour (Sun et al. 2022)": neighbour,
        "energy of the logits (Liu et al. 2020)": energy,
        "highest probability": probability,
    }
    rows: list[Row] = []
    with torch.inference_mode():
        for way, score in ways.items():
            limit = leaf_quantile(score(sides["val"]), 1 - FALSE_ALARM, sides["val"].groups)
            assert limit is not None, "val has too few leaves"
            shares = {
                side: round(float((score(readings) > limit).float().mean()), 4)
                for side, readings in sides.items()
            }
            rows.append({"checkpoint": name, "score": way, **shares})
    return rows


if __name__ == "__main__":
    main()
