"""Stands in for a machine whose memory does not suffice for a moment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image

from lazarus_pl.data import decode


def short_of_memory(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[int]:
    """Lets one photo fail for want of memory when it is decoded for the encoder.

    Args:
        monkeypatch: Of the test.
        at: How many are decoded before.

    Returns:
        Counts the photos that are decoded: the next number is how many there were.
    """
    real = decode.decode
    calls = iter(range(10_000))

    def short(image: Image.Image, at_least: int | None = None) -> Image.Image:
        if next(calls) == at:
            raise MemoryError
        return real(image, at_least)

    monkeypatch.setattr(decode, "decode", short)
    return calls
