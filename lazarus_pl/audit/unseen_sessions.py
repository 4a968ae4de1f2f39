"""How photos of a shooting session score that training has not seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.near_copies import Pair
from lazarus_pl.audit.quick_head import Places
from lazarus_pl.data.place import Place
from lazarus_pl.data.shooting_sessions import shooting_sessions

_MOST_LEFT_OUT = 3
_LEAST_PHOTOS = 20

Bools = npt.NDArray[np.bool_]


def unseen_sessions(data: AuditData, near: Sequence[Pair]) -> dict[str, Any] | None:
    """Scores a quick linear head on whole sessions that it has not learnt from.

    Photos of one session share the day, the place and the light, and often the plant: on a split
    along such sessions a model can recognise them instead of the disease. Where a class has
    several sessions of at least twenty photos (:func:`shooting_sessions`, by time if all photos
    tell it), each in turn, up to the three largest, is left out, one of each class at a time.
    Near duplicates of theirs, photos of their leaf groups, and photos of their class whose session
    is unknown, are not learnt from either. Test photos take no part.

    Args:
        data: Photos with features.
        near: Near duplicates.

    Returns:
        ``classes`` (how many have several sessions, photos to learn from beside each, and photos on
        val if there are any), ``left_out`` (sessions), ``photos`` in them, ``recall`` (mean over
        these classes), ``on_val`` (the same on val, by a head that learnt from train) and
        ``by_class`` with ``sessions``, ``left_out``, ``photos``, ``recall``, ``on_val`` and
        ``taken_for`` (the class that photos not found were most often given, or nothing); None
        without features, a split, places of the photos, or two classes to tell apart.
    """
    usable = data.sides != "test"
    if data.features is None or data.split_problem or not any(data.places):
        return None
    if len(np.unique(data.labels[usable])) < 2:
        return None
    places, on_val = _places(data), _on_val(data)
    sessions = _large_sessions(data, places, usable)
    if on_val:
        sessions = {label: found for label, found in sessions.items() if label in on_val}
    left_out = {label: _largest(found) for label, found in sessions.items()}
    unplaced = np.array([place is None for place in places])
    predicted = _predicted(data, near, left_out, usable, unplaced)
    asked = {
        label: [session for session in found if (predicted[session] >= 0).all()]
        for label, found in sorted(left_out.items())
    }
    by_class = {
        data.class_names[label]: {
            "sessions": len(sessions[label]),
            "left_out": len(found),
            **_of_class(data, label, np.concatenate(found), predicted),
            "on_val": on_val.get(label),
        }
        for label, found in asked.items()
        if found
    }
    rows = by_class.values()
    return {
        "classes": len(by_class),
        "left_out": sum(row["left_out"] for row in rows),
        "photos": sum(row["photos"] for row in rows),
        "recall": float(np.mean([row["recall"] for row in rows])) if rows else None,
        "on_val": float(np.mean([row["on_val"] for row in rows])) if rows and on_val else None,
        "by_class": by_class,
    }


def _places(data: AuditData) -> Sequence[Place | None]:
    """In time, where it is known of every photo that has a place."""
    times = [
        Place.in_time(photo, measures.taken)
        for photo, measures in zip(data.photos, data.measures, strict=True)
    ]
    placed = [place is not None for place in data.places]
    return times if placed == [time is not None for time in times] else data.places


def _large_sessions(
    data: AuditData, places: Sequence[Place | None], usable: Bools
) -> dict[int, list[Places]]:
    """The sessions of each class that has several."""
    by_label = defaultdict(list)
    for session in shooting_sessions(places):
        photos = np.array(session, dtype=np.intp)
        photos = photos[usable[photos]]
        if len(photos) >= _LEAST_PHOTOS:
            by_label[int(data.labels[photos[0]])].append(photos)
    return {label: found for label, found in by_label.items() if len(found) > 1}


def _largest(sessions: Sequence[Places]) -> list[Places]:
    return sorted(sessions, key=len, reverse=True)[:_MOST_LEFT_OUT]


def _predicted(
    data: AuditData,
    near: Sequence[Pair],
    left_out: Mapping[int, Sequence[Places]],
    usable: Bools,
    unplaced: Bools,
) -> Places:
    """What each photo that was left out was taken for.

    -1 for all others, and where nothing of the class was left to learn from.
    """
    predicted = np.full(len(data.photos), -1, dtype=np.intp)
    for turn in range(_MOST_LEFT_OUT):
        held = [found[turn] for found in left_out.values() if len(found) > turn]
        if not held:
            break
        together = np.concatenate(held)
        of_unknown_session = unplaced & np.isin(data.labels, data.labels[together])
        learnt = usable & ~of_unknown_session & ~_kin(data, near, together)
        known = together[np.isin(data.labels[together], data.labels[learnt])]
        if len(known):
            predicted[known] = data.quick_guesses(np.flatnonzero(learnt), known)
    return predicted


def _kin(data: AuditData, near: Sequence[Pair], held: Places) -> Bools:
    """Photos that are held out, of their leaf groups or bytes, or nearly the same as one."""
    groups = {data.photos[place].group for place in held} - {""}
    files = {data.photos[place].sha256 for place in held}
    of_held = np.array([p.group in groups or p.sha256 in files for p in data.photos])
    kin = of_held.copy()
    for pair in near:
        kin[pair.left] |= of_held[pair.right]
        kin[pair.right] |= of_held[pair.left]
    return kin


def _on_val(data: AuditData) -> dict[int, float]:
    """Recall of each class on val of a head that learnt from train."""
    train, val = (np.flatnonzero(data.sides == side) for side in ("train", "val"))
    if not len(train) or not len(val):
        return {}
    truth = data.labels[val]
    right = data.quick_guesses(train, val) == truth
    return {int(label): float(right[truth == label].mean()) for label in np.unique(truth)}


def _of_class(data: AuditData, label: int, held: Places, predicted: Places) -> dict[str, Any]:
    told = predicted[held]
    others = told[told != label]
    taken = data.class_names[np.bincount(others).argmax()] if len(others) else ""
    return {"photos": len(held), "recall": float((told == label).mean()), "taken_for": taken}
