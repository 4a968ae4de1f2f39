from __future__ import annotations

import tracemalloc
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lazarus_pl.data.near_duplicates import near_duplicate_groups, near_pairs, nearest


def brute_force(hashes: list[int], distance: int) -> list[int]:
    groups = list(range(len(hashes)))
    changed = True
    while changed:
        changed = False
        for i, left in enumerate(hashes):
            for j, right in enumerate(hashes):
                near = (left ^ right).bit_count() <= distance
                if near and groups[i] != groups[j]:
                    groups[i] = groups[j] = min(groups[i], groups[j])
                    changed = True
    seen = {root: number for number, root in enumerate(dict.fromkeys(groups))}
    return [seen[root] for root in groups]


# the first example imports SciPy
@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 255), min_size=1, max_size=24),
    st.integers(0, 8),
)
def test_agrees_with_brute_force(hashes: list[int], distance: int) -> None:
    groups = near_duplicate_groups([f"{value:016x}" for value in hashes], distance)
    assert groups.tolist() == brute_force(hashes, distance)


def test_more_photos_than_a_block() -> None:
    rng = np.random.default_rng(0)
    hashes = [f"{value:016x}" for value in rng.integers(0, 2**63, 1500).tolist()]
    groups = near_duplicate_groups([*hashes, hashes[3], hashes[1400]])
    assert groups[-2] == groups[3]
    assert groups[-1] == groups[1400]
    assert len(set(groups.tolist())) == 1500


def test_pairs_are_each_told_once_with_their_distance() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2**63, 1100).tolist()
    values += [values[2] ^ 0b101, values[1050] ^ 1]
    found = {
        (int(left), int(right)): int(distance)
        for lefts, rights, distances in near_pairs([f"{value:016x}" for value in values])
        for left, right, distance in zip(lefts, rights, distances, strict=True)
    }
    assert found == {(2, 1100): 2, (1050, 1101): 1}


def test_a_burst_takes_no_memory_for_each_of_its_pairs() -> None:
    """All 8 million pairs are near: 3 bits of each photo differ from the same picture."""
    burst = [f"{sum(1 << bit for bit in bits):016x}" for bits in combinations(range(31), 3)][:4096]
    # SciPy is imported
    near_duplicate_groups(["0" * 16, "0" * 15 + "1"])
    tracemalloc.start()
    try:
        groups = near_duplicate_groups([*burst, "f" * 16])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert groups.tolist() == [0] * 4096 + [1]
    assert most < 120e6


def test_nearest_is_the_first_of_the_most_alike() -> None:
    among = [f"{value:016x}" for value in (0, 0xFF, 0xF0, 0xF0)]
    assert nearest([f"{value:016x}" for value in (1, 0xFE, 0x70, 2**63 - 1)], among) == {
        0: 0,
        1: 1,
        2: 2,
    }
    assert nearest([among[0]], []) == nearest([], among) == {}
