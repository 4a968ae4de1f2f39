from __future__ import annotations

import hashlib

import numpy as np

from lazarus_pl.cache.find_digests import find_digests, pack_digests


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_last_place_of_each_or_none() -> None:
    among = [digest(text) for text in "abcab"]
    wanted = [digest(text) for text in "cxab"]
    found = find_digests(pack_digests(wanted), pack_digests(among))
    assert found.tolist() == [2, -1, 3, 4]


def test_many_of_them() -> None:
    texts = [digest(str(number)) for number in range(20_000)]
    order = np.random.default_rng(0).permutation(len(texts))
    found = find_digests(pack_digests(texts[place] for place in order), pack_digests(texts))
    assert np.array_equal(found, order)


def test_nothing() -> None:
    none, one = pack_digests(()), pack_digests([digest("a")])
    assert find_digests(one, none).tolist() == [-1]
    assert find_digests(none, one).tolist() == []


def test_what_is_no_digest_is_itself_and_nothing_else() -> None:
    odd = ["", "x", "\udcff", " " * 64, "é" * 64, f"{digest('a')[:-2]} b", digest("a")]
    packed = pack_digests(odd)
    assert find_digests(packed, packed).tolist() == list(range(len(odd)))
    assert (find_digests(packed[:-1], pack_digests([digest("a")])) == -1).all()


def test_digests_with_the_same_beginning_are_told_apart() -> None:
    first, second = "0" * 64, "0" * 63 + "1"
    assert find_digests(pack_digests([first]), pack_digests([second])).tolist() == [-1]
