"""Whether a split is honest: siblings on both sides, and what they are worth in macro-F1."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.near_copies import Pair
from lazarus_pl.audit.quick_head import macro_f1
from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.split.balanced import deal_groups
from lazarus_pl.data.split.leaf_ranges import BURST

_HELD = ("val", "test")


def leak_report(data: AuditData, near: Sequence[Pair]) -> dict[str, Any]:
    """Compares the split in use with a random one.

    A sibling is a photo of the same class and photographer at most eight numbers away (PlantVillage
    has 4 to 17 photos a leaf, with consecutive numbers), of the same leaf where names tell it, or a
    near duplicate.

    Returns:
        ``in_use`` and ``random``, each with ``strategy``, ``held_out`` (photos of val and test),
        ``share_with_sibling`` (those with a sibling in train) and, with features, ``macro_f1`` and
        ``accuracy`` of a quick linear head that learns from train and is scored on val; and
        ``inflation``, the difference in macro-F1. Test labels are not read.
    """
    siblings = _siblings(data, near)
    sides = {"in_use": data.sides, "random": random_sides(data)}
    strategies = {"in_use": data.split.strategy, "random": "random"}
    report: dict[str, Any] = {
        name: {
            "strategy": strategies[name],
            "held_out": int(np.isin(sides[name], _HELD).sum()),
            "share_with_sibling": _share_with_sibling(sides[name], siblings),
            **_quick_scores(data, sides[name]),
        }
        for name in sides
    }
    scores = [report[name]["macro_f1"] for name in ("random", "in_use")]
    report["inflation"] = None if None in scores else scores[0] - scores[1]
    return report


def random_sides(data: AuditData) -> npt.NDArray[np.str_]:
    """Sides that a random split with the same fractions would give."""
    if data.split_problem:
        return data.sides
    spec = replace(data.split, strategy="random", regex=None)
    groups = {photo.path: photo.sha256[:16] for photo in data.photos}
    dealt = deal_groups(data.photos, groups, spec, {})
    return np.array([dealt[photo.path] for photo in data.photos], dtype=np.str_)


def _siblings(data: AuditData, near: Sequence[Pair]) -> list[tuple[int, int]]:
    pairs = [(pair.left, pair.right) for pair in near]
    sequences: dict[tuple[str, str], list[tuple[float, int, bool]]] = defaultdict(list)
    for place, photo in enumerate(data.photos):
        name = LeafName.of(photo.path)
        if name is not None:
            leaf = float(int(name.number))
            sequences[photo.label, name.source].append((leaf, place, name.numbers_leaves))
    for sequence in sequences.values():
        sequence.sort()
        for first, (number, place, names_leaf) in enumerate(sequence):
            reach = 0 if names_leaf else BURST
            for other, neighbour, _ in sequence[first + 1 :]:
                if other - number > reach:
                    break
                pairs.append((place, neighbour))
    return pairs


def _share_with_sibling(sides: npt.NDArray[np.str_], pairs: Sequence[tuple[int, int]]) -> float:
    held = np.isin(sides, _HELD)
    found = np.zeros(len(sides), dtype=bool)
    if pairs:
        left, right = np.array(pairs, dtype=np.intp).T
        for one, other in ((left, right), (right, left)):
            found[one[held[one] & (sides[other] == "train")]] = True
    return float(found.sum() / max(held.sum(), 1))


def _quick_scores(data: AuditData, sides: npt.NDArray[np.str_]) -> dict[str, float | None]:
    train, val = np.flatnonzero(sides == "train"), np.flatnonzero(sides == "val")
    if data.features is None or not len(train) or not len(val):
        return {"macro_f1": None, "accuracy": None}
    predicted = data.quick_guesses(train, val)
    truth = data.labels[val]
    return {
        "macro_f1": macro_f1(truth, predicted),
        "accuracy": float((truth == predicted).mean()),
    }
