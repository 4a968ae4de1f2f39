"""Pairs of photos that show the same thing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.data.near_duplicates import near_pairs
from lazarus_pl.data.split.split_spec import SIDES

# On PlantVillage, pairs within four bits are of one leaf; within six, half are of two classes. With
# features to confirm them hashes may differ more: within ten bits, pairs of one leaf have a median
# cosine of 0.79, pairs of two classes 0.03.
_SURE_DISTANCE = 4
_CANDIDATE_DISTANCE = 10
_CONFIRMED_COSINE = 0.6
_SHOWN = 50


class Pair(NamedTuple):
    """Two photos by their places.

    Attributes:
        left: The first.
        right: The second.
        bits: In how many bits their perceptual hashes differ.
        cosine: Of their standardised features; NaN without a cache.
    """

    left: int
    right: int
    bits: int
    cosine: float


def find_near_copies(data: AuditData) -> list[Pair]:
    """Near duplicates: perceptual hashes that differ in at most four bits.

    With features, hashes may differ in ten bits, and the features' cosine must be 0.6 or more.
    Files with the same bytes are not among them.
    """
    confirmed = data.features is not None
    limit = _CANDIDATE_DISTANCE if confirmed else _SURE_DISTANCE
    pairs: list[Pair] = []
    for left, right, bits in near_pairs([photo.phash for photo in data.photos], limit):
        if confirmed:
            cosines = np.einsum("ij,ij->i", data.directions[left], data.directions[right])
        else:
            cosines = np.full(len(left), np.nan, dtype=np.float32)
        pairs.extend(
            Pair(int(one), int(other), int(distance), float(cosine))
            for one, other, distance, cosine in zip(left, right, bits, cosines, strict=True)
            if not (confirmed and cosine < _CONFIRMED_COSINE)
            and data.photos[one].sha256 != data.photos[other].sha256
        )
    return pairs


def duplicate_report(data: AuditData, near: Sequence[Pair]) -> dict[str, Any]:
    """Copies within a class, across classes and across sides.

    Returns:
        ``exact`` and ``near``: pairs; ``conflicts``: those of either kind with two labels;
        ``across_splits``: those on two of train, val and test. Each holds ``number`` and up to 50
        ``pairs``, the most alike first.
    """
    exact = _exact_pairs(data)
    both = [*exact, *near]
    return {
        "exact": _told(data, exact),
        "near": _told(data, near),
        "conflicts": _told(data, [pair for pair in both if _conflicts(data, pair)]),
        "across_splits": _told(data, [pair for pair in both if _leaks(data, pair)]),
        "confirmed_on_features": data.features is not None,
    }


def _exact_pairs(data: AuditData) -> list[Pair]:
    copies: dict[str, list[int]] = defaultdict(list)
    for place, photo in enumerate(data.photos):
        copies[photo.sha256].append(place)
    return [
        Pair(left, right, 0, 1.0)
        for places in copies.values()
        for left, right in combinations(places, 2)
    ]


def _conflicts(data: AuditData, pair: Pair) -> bool:
    return data.photos[pair.left].label != data.photos[pair.right].label


def _leaks(data: AuditData, pair: Pair) -> bool:
    sides = {data.photos[pair.left].split, data.photos[pair.right].split}
    return len(sides & set(SIDES)) > 1


def _told(data: AuditData, pairs: Sequence[Pair]) -> dict[str, Any]:
    alike = sorted(pairs, key=lambda pair: (pair.bits, -pair.cosine))
    return {
        "number": len(pairs),
        "pairs": [
            {
                "left": data.photos[pair.left].path,
                "right": data.photos[pair.right].path,
                "bits": pair.bits,
                "cosine": None if np.isnan(pair.cosine) else round(pair.cosine, 3),
            }
            for pair in alike[:_SHOWN]
        ],
    }
