from __future__ import annotations

import threading

import numpy as np
import pytest

from lazarus_pl.encoder.encode_photos import encode_photos
from lazarus_pl.encoder.engine_ahead import EngineAhead
from lazarus_pl.errors import LazarusError
from tests.cache.engines import MeanColourEngine


class Gated(MeanColourEngine):
    """Encodes when it is let, and fails at what is black."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.gate = threading.Event(), threading.Event()

    def encode(self, photos: np.ndarray) -> dict[str, np.ndarray]:
        self.begun.set()
        assert self.gate.wait(20)
        if not photos.any():
            raise LazarusError("black")
        return super().encode(photos)


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (20, 16, 16, 3), dtype=np.uint8)


def test_features_are_those_of_the_engine(photos: np.ndarray) -> None:
    exact = MeanColourEngine().encode(photos)
    with EngineAhead(MeanColourEngine()) as engine:
        rows = list(encode_photos(engine, photos))
        for number, row in enumerate(rows):
            assert list(row) == list(exact)
            assert len(row) == len(exact)
            for layer, values in exact.items():
                assert np.array_equal(row[layer], values[number])


def test_photos_are_taken_while_the_engine_works(photos: np.ndarray) -> None:
    slow = Gated()
    with EngineAhead(slow) as engine:
        first = list(encode_photos(engine, photos[:8]))
        second = list(encode_photos(engine, photos[8:]))
        assert (len(first), len(second), slow.encoded) == (8, 12, 0)
        slow.gate.set()
        assert second[0]["pooled"].shape == (3,)
        assert slow.encoded == 20


def test_what_fails_is_raised_when_it_is_asked_for(photos: np.ndarray) -> None:
    engine = Gated()
    engine.gate.set()
    with EngineAhead(engine) as ahead:
        black, sound = ahead.encode(np.zeros_like(photos)), ahead.encode(photos)
        with pytest.raises(LazarusError, match="black"):
            black["pooled"]
        assert len(sound["pooled"]) == 20


def test_leaving_waits_for_one_batch_and_leaves_out_the_others(photos: np.ndarray) -> None:
    engine = Gated()
    with EngineAhead(engine) as ahead:
        for _ in range(3):
            ahead.encode(photos)
        assert engine.begun.wait(20)
        threading.Timer(0.2, engine.gate.set).start()
    assert engine.encoded == 20
