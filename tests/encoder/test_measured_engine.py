from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lazarus_pl.encoder.agreement import Agreement
from lazarus_pl.encoder.measured_engine import Candidate, MeasuredEngine
from lazarus_pl.encoder.precision import NOT_FINITE
from lazarus_pl.errors import LazarusError
from tests.cache.engines import MeanColourEngine


class Skewed(MeanColourEngine):
    """Adds an error to what it sees."""

    def __init__(
        self, name: str, seconds: float, error: float = 0.0, precision: str = "32"
    ) -> None:
        super().__init__(name, seconds)
        self.error, self.precision = error, precision

    def encode(self, photos: np.ndarray) -> dict[str, np.ndarray]:
        noise = np.random.default_rng(0).normal(0, self.error, (len(photos), 1, 1, 3)) * 255
        return super().encode(np.clip(photos + noise, 0, 255))


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(1).integers(60, 190, (24, 16, 16, 3), dtype=np.uint8)


def candidate(engine: MeanColourEngine, **options: Any) -> Candidate:  # noqa: ANN401
    return Candidate(engine.name, lambda: engine, precision=engine.precision, **options)


def measured(*engines: MeanColourEngine, **options: int) -> MeasuredEngine:
    return MeasuredEngine(engines[0], [candidate(each) for each in engines], **options)


def test_the_fastest_that_agrees_is_taken(photos: np.ndarray) -> None:
    slow, fast, wrong = Skewed("slow", 0.02), Skewed("fast", 0.01), Skewed("wrong", 0.0, 0.3)
    engine = measured(slow, wrong, fast)
    assert np.array_equal(engine.encode(photos)["pooled"], slow.encode(photos)["pooled"])
    assert engine.name == "fast"
    rows = engine.measured["engines"]
    assert engine.measured["photos"] == 16
    assert rows["wrong"]["photos_per_second"] > rows["fast"]["photos_per_second"]
    assert rows["fast"]["photos_per_second"] > rows["slow"]["photos_per_second"]
    assert rows["fast"]["worst_cosine"] == 1
    assert rows["wrong"]["worst_cosine"] < 0.99
    encoded = fast.encoded
    engine.encode(photos)
    assert fast.encoded == encoded + len(photos)


def test_reduced_precision_may_differ_a_little_and_float32_may_not(photos: np.ndarray) -> None:
    for precision, taken in (("32", "exact"), ("bf16", "near")):
        near = Skewed("near", 0.0, 0.02, precision)
        engine = measured(Skewed("exact", 0.01), near)
        engine.settle(photos)
        assert engine.name == taken


@pytest.mark.parametrize(("coming", "at_once"), [(None, 64), (20, 20), (3, 8)])
def test_before_the_choice_so_many_are_taken_as_fill_any(
    coming: int | None, at_once: int, photos: np.ndarray
) -> None:
    options = {} if coming is None else {"photos": coming}
    engine = measured(Skewed("slow", 0.01), Skewed("fast", 0.0), **options)
    assert engine.batch_size == at_once
    engine.settle(photos)
    assert engine.batch_size == 8


def test_what_rounds_more_has_to_be_much_faster(photos: np.ndarray) -> None:
    for seconds, taken in ((0.009, "32"), (0.004, "bf16")):
        near = Skewed("torch", seconds, 0.01, "bf16")
        engine = measured(Skewed("torch", 0.01), near)
        assert engine.precision == "auto"
        engine.settle(photos)
        assert (engine.name, engine.precision) == ("torch", taken)
        assert set(engine.measured["engines"]) == {"torch", "torch bf16"}


@pytest.mark.parametrize(
    ("error", "tried"), [(0.01, {"torch", "other bf16"}), (0.3, {"torch", "other", "other bf16"})]
)
def test_float32_is_tried_where_bf16_is_not_near_enough(
    error: float, tried: set[str], photos: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    exact, other = Skewed("torch", 0.01), candidate(Skewed("other", 0.0))
    lower = candidate(Skewed("other", 0.0, error, "bf16"), otherwise=other)
    engine = MeasuredEngine(exact, [candidate(exact), lower])
    engine.settle(photos)
    assert set(engine.measured["engines"]) == tried
    assert (engine.name, engine.precision) == ("other", "32" if "other" in tried else "bf16")
    assert ("other in precision bf16 are not those of torch" in caplog.text) == (error > 0.1)


def test_float32_is_tried_where_bf16_cannot_start(
    photos: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> MeanColourEngine:
        raise LazarusError("no bf16 here")

    exact, other = Skewed("torch", 0.01), candidate(Skewed("other", 0.0))
    lower = Candidate("other", refuse, precision="bf16", otherwise=other)
    engine = MeasuredEngine(exact, [candidate(exact), lower])
    engine.settle(photos)
    assert (engine.name, engine.precision) == ("other", "32")
    assert "no bf16 here: using other" in caplog.text


@pytest.mark.parametrize(
    ("name", "precision"), [("other", "32"), ("other", "bf16"), ("torch", "32"), (None, "32")]
)
def test_what_began_is_kept_to(name: str | None, precision: str, photos: np.ndarray) -> None:
    exact, other = Skewed("torch", 0.01), candidate(Skewed("other", 0.0))
    lower = candidate(Skewed("other", 0.0, precision="bf16"), otherwise=other)
    engine = MeasuredEngine(exact, [candidate(exact), lower])
    engine.settle(photos, name=name, precision=precision)
    assert (engine.name, engine.precision) == (name or "other", precision)


def test_an_engine_that_began_is_kept_to(photos: np.ndarray) -> None:
    engine = measured(Skewed("slow", 0.01), Skewed("fast", 0.0))
    engine.settle(photos, name="slow")
    assert engine.name == "slow"
    engine.settle(photos, name="fast")
    assert engine.name == "slow"


@pytest.mark.parametrize(
    ("left", "taken"), [(None, "fast"), (10, "slow"), (100, "slow"), (9000, "fast")]
)
def test_what_starts_slowly_is_for_many_photos(
    left: int | None, taken: str, photos: np.ndarray
) -> None:
    # 8 photos in 10 ms: 9000 take 11 s
    slow, fast = Skewed("slow", 0.01), Skewed("fast", 0.0)
    started: list[str] = []

    def start() -> MeanColourEngine:
        started.append("fast")
        return fast

    candidates = [Candidate("slow", lambda: slow), Candidate("fast", start, 2.0)]
    engine = MeasuredEngine(slow, candidates)
    engine.settle(photos, left)
    assert engine.name == taken
    assert started == (["fast"] if taken == "fast" else [])


def test_nothing_is_chosen_on_nothing_and_none_that_agrees_is_an_error(photos: np.ndarray) -> None:
    wrong = Skewed("wrong", 0.0, 0.3)
    engine = MeasuredEngine(Skewed("exact", 0.0), [candidate(wrong)])
    assert engine.encode(photos[:0])["pooled"].shape == (0, 3)
    assert engine.name == "auto"
    with pytest.raises(LazarusError, match="features of wrong in precision 32 are not those"):
        engine.encode(photos)


def test_agreement_is_of_the_worst_layer_and_photo() -> None:
    exact = {"a": np.eye(3, dtype=np.float16), "b": np.ones((3, 2, 2, 1), np.float16)}
    turned = {**exact, "a": np.array([[1, 0, 0], [0, 1, 0], [0, 3, 4]], np.float16)}
    agreement = Agreement.of(exact, turned)
    assert agreement == Agreement(3, pytest.approx(2.8 / 3), pytest.approx(0.8))
    assert not agreement.suffices("bf16")
    assert Agreement.of(exact, exact).suffices("32")
    broken = {**exact, "b": np.full((3, 2, 2, 1), np.inf, np.float16)}
    assert Agreement.of(exact, broken).worst == NOT_FINITE
