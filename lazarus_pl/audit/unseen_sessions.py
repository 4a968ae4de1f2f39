"""How photos of a shooting session score that training has not seen."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.quick_head import Places, quick_probabilities
from lazarus_pl.data.shooting_sessions import shooting_sessions

_FOLDS = 3
_LEAST_PHOTOS = 20


def unseen_sessions(data: AuditData) -> dict[str, Any] | None:
    """Scores a quick linear head on whole sessions that it has not learnt from.

    Photos of one session share the day, the place and the light, and often the plant: on a split
    along such sessions a model can recognise them instead of the disease. Where a class has
    several sessions of at least twenty photos (:func:`shooting_sessions`), each in turn, up to
    three, is left out, one of each class at a time. Test photos take no part.

    Returns:
        ``classes`` (how many have several sessions), ``sessions`` and ``photos`` that were left
        out, ``recall`` (mean over these classes), ``near`` (the same on val, by a head that
        learnt from train) and ``by_class`` with ``sessions``, ``photos``, ``recall``, ``near``
        (None without photos on val) and ``taken_for`` (the class that photos not found were most
        often given, or nothing); None without features, a split or places of the photos.
    """
    usable = data.sides != "test"
    if data.features is None or data.split_problem or not any(data.places):
        return None
    sessions = _large_sessions(data, usable)
    predicted = np.full(len(data.photos), -1, dtype=np.intp)
    for fold in range(_FOLDS):
        held = [found[fold] for found in sessions.values() if len(found) > fold]
        if held:
            _predict(data, usable, np.concatenate(held), predicted)
    near = _near(data) if sessions else {}
    by_class = {
        data.class_names[label]: {
            "sessions": len(found[:_FOLDS]),
            **_of_class(data, label, np.concatenate(found[:_FOLDS]), predicted),
            "near": near.get(label),
        }
        for label, found in sorted(sessions.items())
    }
    beside = [row["near"] for row in by_class.values() if row["near"] is not None]
    return {
        "classes": len(by_class),
        "sessions": sum(row["sessions"] for row in by_class.values()),
        "photos": sum(row["photos"] for row in by_class.values()),
        "recall": _mean([row["recall"] for row in by_class.values()]),
        "near": _mean(beside),
        "by_class": by_class,
    }


def _large_sessions(data: AuditData, usable: npt.NDArray[np.bool_]) -> dict[int, list[Places]]:
    """The sessions of each class that has several."""
    by_label = defaultdict(list)
    for session in shooting_sessions(data.places):
        photos = np.array(session, dtype=np.intp)
        photos = photos[usable[photos]]
        if len(photos) >= _LEAST_PHOTOS:
            by_label[int(data.labels[photos[0]])].append(photos)
    return {label: found for label, found in by_label.items() if len(found) > 1}


def _predict(
    data: AuditData,
    usable: npt.NDArray[np.bool_],
    held: Places,
    predicted: npt.NDArray[np.intp],
) -> None:
    learnt = usable.copy()
    learnt[held] = False
    predicted[held] = _guesses(data, np.flatnonzero(learnt), held)


def _near(data: AuditData) -> dict[int, float]:
    """Recall of each class on val, whose photos lie beside those of train."""
    train, val = (np.flatnonzero(data.sides == side) for side in ("train", "val"))
    if not len(train) or not len(val):
        return {}
    right = _guesses(data, train, val) == data.labels[val]
    return {int(n): float(right[data.labels[val] == n].mean()) for n in np.unique(data.labels[val])}


def _guesses(data: AuditData, train: Places, held: Places) -> npt.NDArray[np.intp]:
    classes = len(data.class_names)
    told: Places = quick_probabilities(data.standardised, data.labels, train, held, classes).argmax(
        axis=1
    )
    return told


def _of_class(
    data: AuditData, label: int, held: Places, predicted: npt.NDArray[np.intp]
) -> dict[str, Any]:
    told = predicted[held]
    others = told[told != label]
    taken = data.class_names[np.bincount(others).argmax()] if len(others) else ""
    return {"photos": len(held), "recall": float((told == label).mean()), "taken_for": taken}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
