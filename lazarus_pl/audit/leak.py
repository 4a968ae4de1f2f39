"""Whether a split is honest: siblings on both sides, and what they are worth in macro-F1."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.near_copies import Pair
from lazarus_pl.audit.quick_head import macro_f1
from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.split.balanced import deal_groups
from lazarus_pl.data.split.leaf_ranges import BURST
from lazarus_pl.data.split.split_spec import SIDES

_HELD = ("val", "test")
_DRAWS = 5
# in deviations of the draws: Student's t at 0.95, for one more draw beside five
_CHANCE = 2.13 * math.sqrt(1 + 1 / _DRAWS)


def leak_report(data: AuditData, near: Sequence[Pair]) -> dict[str, Any]:
    """Compares the split in use with random ones.

    A sibling is a photo of the same class and photographer at most eight numbers away (PlantVillage
    has 4 to 17 photos a leaf, with consecutive numbers), of the same leaf where names tell it, or a
    near duplicate. Photos of val should have none in train, and photos of test none in train or
    val: the model is chosen on val, and trained on it too in the end.

    Scores are those of a quick linear head that learns from train and is asked for val. Random
    draws leave each class as many photos of both, and test photos where they are
    (:func:`dealt_anew`): none of them is learnt from or asked for.

    Returns:
        ``in_use`` and ``random``, each with ``strategy``, ``held_out`` (photos of val and test) and
        ``share_with_sibling`` (those with a sibling in what is learnt from), and with ``macro_f1``
        and ``accuracy``, or None without features or a split. Those of ``random`` are the means of
        five draws; ``draws`` has the macro-F1 of each. ``inflation`` is the difference in macro-F1,
        and ``noise`` the difference that chance alone may make.
    """
    siblings = _siblings(data, near)
    in_use, random = _scores(data)
    return {
        "in_use": {
            "strategy": data.split.strategy,
            **_shares(data.sides, siblings),
            **_means(in_use),
        },
        "random": {
            "strategy": "random",
            **_shares(random_sides(data), siblings),
            **_means(random),
            "draws": [score.macro_f1 for score in random],
        },
        **_inflation(in_use, random),
    }


def dealt_anew(data: AuditData, seed: int) -> npt.NDArray[np.str_]:
    """Sides with all photos but those of test exchanged at random.

    Each class has as many on each as before. Copies stay together, but for those at a border.
    """
    _, files = np.unique([photo.sha256 for photo in data.photos], return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(files))[files]
    sides = data.sides.copy()
    for label in range(len(data.class_names)):
        mine = np.flatnonzero((data.sides != "test") & (data.labels == label))
        sides[mine[np.argsort(order[mine])]] = np.sort(sides[mine])
    return sides


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


def _shares(sides: npt.NDArray[np.str_], siblings: Sequence[tuple[int, int]]) -> dict[str, float]:
    order = np.select([sides == side for side in SIDES], range(len(SIDES)), default=-1)
    held = np.isin(sides, _HELD)
    found = np.zeros(len(sides), dtype=bool)
    if siblings:
        left, right = np.array(siblings, dtype=np.intp).T
        for one, other in ((left, right), (right, left)):
            found[one[(order[other] >= 0) & (order[other] < order[one])]] = True
    return {
        "held_out": int(held.sum()),
        "share_with_sibling": float(found.sum() / max(held.sum(), 1)),
    }


class _Score(NamedTuple):
    macro_f1: float
    accuracy: float
    leaves: int


def _scores(data: AuditData) -> tuple[list[_Score], list[_Score]]:
    """Of the split in use and of random draws; none without features or a split."""
    if data.features is None or not {"train", "val"} <= set(data.sides):
        return [], []
    drawn = [dealt_anew(data, seed) for seed in range(_DRAWS)]
    return [_score(data, data.sides)], [_score(data, sides) for sides in drawn]


def _score(data: AuditData, sides: npt.NDArray[np.str_]) -> _Score:
    train, val = np.flatnonzero(sides == "train"), np.flatnonzero(sides == "val")
    predicted, truth = data.quick_guesses(train, val), data.labels[val]
    leaves = len({data.photos[place].group for place in val})
    return _Score(macro_f1(truth, predicted), float((truth == predicted).mean()), leaves)


def _means(scores: Sequence[_Score]) -> dict[str, float | None]:
    return {
        name: float(np.mean([getattr(score, name) for score in scores])) if scores else None
        for name in ("macro_f1", "accuracy")
    }


def _inflation(in_use: Sequence[_Score], random: Sequence[_Score]) -> dict[str, float | None]:
    if not in_use:
        return {"inflation": None, "noise": None}
    (score,), draws = in_use, [draw.macro_f1 for draw in random]
    # draws can agree by chance; a score is no surer than its number of leaves
    least = math.sqrt(score.accuracy * (1 - score.accuracy) / score.leaves)
    return {
        "inflation": float(np.mean(draws)) - score.macro_f1,
        "noise": _CHANCE * max(float(np.std(draws, ddof=1)), least),
    }
