"""How far a score carries: macro-F1 against the distance to the nearest training photo."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.quick_head import Places, macro_f1

_LEARNT_SHARE = 0.5
_EVERY = 8
_STEPS = 4
_SHORTEST = 16
_MOST_PLACED = 0.5


def reach_report(data: AuditData) -> dict[str, Any] | None:
    """Scores a quick linear head at growing distances from what it learnt from.

    Where photos stand in sequences (camera numbers, or EXIF times), it learns from the first half
    of each sequence, all but every eighth photo, and is scored on those (siblings of photos that it
    has seen) and on four equal stretches of the second half: each class has its share in each.
    Elsewhere it learns from train and is scored on val, in quarters of the cosine distance to the
    nearest training photo. Test photos take no part.

    Returns:
        ``axis`` (``sequence`` or ``features``), ``unit`` of distances along sequences (``photos``
        or ``seconds``, whichever more photos have), ``trained_on``, ``steps`` from near to far with
        ``distance`` (median to the nearest training photo), ``photos``, ``macro_f1`` and
        ``accuracy``, and ``loss``, from the first step to the last; None without features or a
        split.
    """
    if data.features is None or data.split_problem:
        return None
    usable = data.sides != "test"
    units = Counter(place.unit for place in data.places if place is not None)
    unit, axis = max(units, key=lambda unit: units[unit], default=None), "sequence"
    placed = np.array([place is not None and place.unit == unit for place in data.places])
    if unit and placed[usable].mean() >= _MOST_PLACED:
        train, held = _along_sequences(data, usable, unit)
    else:
        unit, axis = None, "features"
        train, held = _along_features(data)
    if len(train) == 0 or sum(len(places) for _, places in held) == 0:
        return None
    steps = _scored(data, train, [(d, places) for d, places in held if len(places)])
    return {
        "axis": axis,
        "unit": unit,
        "trained_on": len(train),
        "steps": steps,
        "loss": steps[0]["macro_f1"] - steps[-1]["macro_f1"],
    }


Held = list[tuple[float, Places]]


def _along_sequences(
    data: AuditData, usable: npt.NDArray[np.bool_], unit: str
) -> tuple[Places, Held]:
    sequences: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for photo, place in enumerate(data.places):
        if place is not None and usable[photo] and place.unit == unit:
            sequences[place.sequence].append((place.number, photo))
    train: list[int] = []
    held: list[list[tuple[float, int]]] = [[] for _ in range(_STEPS + 1)]
    for sequence in sequences.values():
        if len(sequence) < _SHORTEST:
            continue
        sequence.sort()
        learnt = round(_LEARNT_SHARE * len(sequence))
        kept = [item for n, item in enumerate(sequence[:learnt]) if n % _EVERY != _EVERY // 2]
        train.extend(photo for _, photo in kept)
        numbers = np.array([number for number, _ in kept])
        for n, (number, photo) in enumerate(sequence):
            if n < learnt and n % _EVERY != _EVERY // 2:
                continue
            step = 0 if n < learnt else 1 + (n - learnt) * _STEPS // (len(sequence) - learnt)
            held[step].append((float(np.abs(numbers - number).min()), photo))
    return np.array(train, dtype=np.intp), [
        (
            float(np.median([distance for distance, _ in step])) if step else 0.0,
            np.array([photo for _, photo in step], dtype=np.intp),
        )
        for step in held
    ]


def _along_features(data: AuditData) -> tuple[Places, Held]:
    train, val = (np.flatnonzero(data.sides == side) for side in ("train", "val"))
    if not len(train) or not len(val):
        return train, []
    nearest = (data.directions[val] @ data.directions[train].T).max(axis=1)
    order = np.argsort(-nearest)
    return train, [
        (float(1 - np.median(nearest[part])), val[part])
        for part in np.array_split(order, _STEPS)
        if len(part)
    ]


def _scored(data: AuditData, train: Places, held: Held) -> list[dict[str, Any]]:
    every = np.concatenate([places for _, places in held])
    predicted = data.quick_guesses(train, every)
    ends = np.cumsum([len(places) for _, places in held])
    return [
        {
            "distance": distance,
            "photos": len(places),
            "macro_f1": macro_f1(data.labels[places], guesses),
            "accuracy": float((data.labels[places] == guesses).mean()),
        }
        for (distance, places), guesses in zip(held, np.split(predicted, ends[:-1]), strict=True)
    ]
