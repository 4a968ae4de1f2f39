"""Where digests stand among others, a million of them at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

_BYTES = 32
_CHUNK = 1 << 14

Digests = npt.NDArray[np.uint64]


def pack_digests(texts: Iterable[str]) -> Digests:
    """SHA-256 digests of 64 hex digits as four numbers each, ``(N, 4)``.

    What is no such digest gets numbers that no digest has.
    """
    left = iter(texts)
    parts = [np.zeros((0, 4), dtype=np.uint64)]
    while chunk := list(islice(left, _CHUNK)):
        packed = _packed(chunk) or b"".join(map(_packed_alone, chunk))
        parts.append(np.frombuffer(packed, dtype=np.uint64).reshape(-1, 4))
    return np.concatenate(parts)


def find_digests(wanted: Digests, among: Digests) -> npt.NDArray[np.intp]:
    """The place of each digest among others: the last one, or -1 where there is none.

    Digests that share their first 64 bits and are not the same may not be found; there are none.
    """
    if not len(among):
        return np.full(len(wanted), -1, dtype=np.intp)
    order = np.argsort(among[:, 0], kind="stable")
    after = np.searchsorted(among[order, 0], wanted[:, 0], side="right")
    places = order[after - 1]
    for part in range(4):
        places[among[places, part] != wanted[:, part]] = -1
    return places


def _packed(texts: Sequence[str]) -> bytes | None:
    if set(map(len, texts)) != {2 * _BYTES}:
        return None
    try:
        packed = bytes.fromhex("".join(texts))
    except ValueError:
        return None
    # white space between digits is passed over
    return packed if len(packed) == _BYTES * len(texts) else None


def _packed_alone(text: str) -> bytes:
    odd = f"no digest: {text}".encode("utf-8", "surrogateescape")
    return _packed([text]) or hashlib.sha256(odd).digest()
