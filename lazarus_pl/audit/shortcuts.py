"""What can be told of a class without looking at the leaf."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.audit.audit_data import AuditData

_TREES = 200
_TOLD = 0.5
_LIFT = 3.0
_FEWEST = 5


def shortcut_report(data: AuditData) -> list[dict[str, Any]]:
    """Trains probes that see no leaf, on train, and scores them on val.

    A probe is a forest of extremely randomised trees (Geurts et al. 2006; scikit-learn) on a few
    numbers of each photo: the colours of eight spots of its ``border``; its ``size_and_format``;
    its ``brightness``, contrast and clipping. A class can be told if at least half of its photos
    are found, half of the photos so named are of it, and both are three times what chance gives.

    Returns:
        For each probe ``accuracy``, ``chance`` (the share of the largest class), ``classes`` (names
        of those that can be told) and ``by_class`` (recall, precision and chance); an empty list
        without a split.
    """
    train, val = (np.flatnonzero(data.sides == side) for side in ("train", "val"))
    if data.split_problem or not len(train) or not len(val):
        return []
    return [_probe(name, values, data, train, val) for name, values in _probes(data).items()]


def _probes(data: AuditData) -> dict[str, npt.NDArray[np.float32]]:
    border = np.stack([m.border_colours.ravel() for m in data.measures])
    shapes = [(p.width, p.height, p.width / p.height) for p in data.photos]
    kinds = [(m.format, m.mode) for m in data.measures]
    kind = {value: number for number, value in enumerate(sorted(set(kinds)))}
    files = [(*shape, kind[value]) for shape, value in zip(shapes, kinds, strict=True)]
    light = [(m.brightness, m.contrast, m.clipped) for m in data.measures]
    return {
        "border": border.astype(np.float32),
        "size_and_format": np.array(files, dtype=np.float32),
        "brightness": np.array(light, dtype=np.float32),
    }


def _probe(
    name: str,
    values: npt.NDArray[np.float32],
    data: AuditData,
    train: npt.NDArray[np.intp],
    val: npt.NDArray[np.intp],
) -> dict[str, Any]:
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(_TREES, min_samples_leaf=2, n_jobs=-1, random_state=0)
    forest.fit(values[train], data.labels[train])
    predicted, truth = forest.predict(values[val]), data.labels[val]
    share = np.bincount(data.labels[train], minlength=len(data.class_names)) / len(train)
    by_class = {
        label: _class_scores(truth == number, predicted == number, float(share[number]))
        for number, label in enumerate(data.class_names)
    }
    return {
        "probe": name,
        "accuracy": float((predicted == truth).mean()),
        "chance": float((truth == share.argmax()).mean()),
        "classes": [label for label, scores in by_class.items() if _can_be_told(scores)],
        "by_class": by_class,
    }


def _class_scores(
    is_class: npt.NDArray[np.bool_], named: npt.NDArray[np.bool_], chance: float
) -> dict[str, Any]:
    hits = int((is_class & named).sum())
    return {
        "photos": int(is_class.sum()),
        "recall": hits / max(int(is_class.sum()), 1),
        "precision": hits / max(int(named.sum()), 1),
        "chance": chance,
    }


def _can_be_told(scores: dict[str, Any]) -> bool:
    needed = max(_TOLD, min(_LIFT * scores["chance"], 0.9))
    return bool(
        scores["photos"] >= _FEWEST and min(scores["recall"], scores["precision"]) >= needed
    )
