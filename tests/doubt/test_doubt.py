from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lazarus_pl.doubt.calibrate import describe
from lazarus_pl.doubt.doubt import Doubt
from lazarus_pl.doubt.feature_distance import FeatureDistance
from lazarus_pl.doubt.fit_set_threshold import fit_set_threshold
from lazarus_pl.doubt.fit_temperature import fit_temperature
from lazarus_pl.doubt.readings import Readings
from lazarus_pl.doubt.verdict import Verdict


def drawn_logits(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits whose softmax is the truth, and labels drawn from it."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 5, generator=rng)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=rng)[:, 0]
    return logits, labels


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_wrong_scale(factor: float) -> None:
    logits, labels = drawn_logits(4000)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("scale", [0.01, 0.03, 0.1])
def test_a_head_of_tiny_logits_is_believed_as_far_as_its_photos_go(scale: float) -> None:
    """A linear head on few photos whose training was stopped early."""
    labels = torch.arange(150) % 5
    logits = scale * torch.eye(5)[labels]
    sure = (logits / fit_temperature(logits, labels)).softmax(dim=-1).amax(dim=-1)
    assert (sure > 0.9).all()
    assert (sure < 0.995).all()


@pytest.mark.parametrize("margin", [1.0, 3.0])
def test_a_few_photos_that_are_right_make_nothing_certain(margin: float) -> None:
    labels = torch.arange(13) % 3
    logits = margin * torch.eye(3)[labels]
    before = logits.softmax(dim=-1).amax(dim=-1)
    after = (logits / fit_temperature(logits, labels)).softmax(dim=-1).amax(dim=-1)
    assert (after > before).all()
    assert (after < 0.98).all()


def test_a_few_photos_that_are_wrong_are_heeded_in_full() -> None:
    logits, labels = drawn_logits(13)
    labels[:6] = (logits[:6].argmax(dim=1) + 1) % 5
    assert fit_temperature(logits, labels) == pytest.approx(likeliest(logits, labels), rel=1e-3)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 4.0])
def test_many_photos_say_what_the_temperature_is(factor: float) -> None:
    logits, labels = drawn_logits(2000)
    found = fit_temperature(logits * factor, labels)
    assert found == pytest.approx(likeliest(logits * factor, labels, 2_000), rel=0.01)


def likeliest(logits: Tensor, labels: Tensor, count: int = 10_000) -> float:
    """The temperature of highest likelihood, one of so many."""
    tried = torch.logspace(-1.3, 1.3, count, base=10.0).double()
    losses = [float(cross_entropy(logits.double() / each, labels)) for each in tried]
    return float(tried[int(np.argmin(losses))])


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.99])
def test_the_sets_are_those_of_mapie(coverage: float) -> None:
    from mapie.classification import SplitConformalClassifier
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Known(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """Probabilities that are known already."""

        def fit(self, x: np.ndarray, y: np.ndarray) -> Known:
            self.classes_ = np.arange(5)
            return self

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return x

        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.asarray(x.argmax(axis=1))

    logits, labels = drawn_logits(400)
    chances = logits.double().softmax(dim=1)
    known, new = chances[:200], chances[200:]
    threshold = fit_set_threshold(known, labels[:200], coverage)
    theirs = SplitConformalClassifier(
        Known().fit(known.numpy(), labels[:200].numpy()), coverage, conformity_score="lac"
    )
    theirs.conformalize(known.numpy(), labels[:200].numpy())
    _, sets = theirs.predict_set(new.numpy())
    assert np.array_equal(sets[:, :, 0], (new >= threshold).numpy())


def test_coverage_holds_on_new_photos_and_too_few_promise_nothing() -> None:
    logits, labels = drawn_logits(4000, seed=1)
    chances = logits.softmax(dim=1)
    threshold = fit_set_threshold(chances[:2000], labels[:2000], 0.9)
    held = chances[2000:][torch.arange(2000), labels[2000:]] >= threshold
    assert float(held.float().mean()) == pytest.approx(0.9, abs=0.03)
    assert fit_set_threshold(chances[:8], labels[:8], 0.9) == 0
    # siblings of eight leaves promise no more than eight photos
    leaves = [str(number % 8) for number in range(800)]
    assert fit_set_threshold(chances[:800], labels[:800], 0.9, leaves) == 0


def test_siblings_are_one_witness() -> None:
    """Photos of a leaf alike: the threshold is that of one photo a leaf."""
    generator = torch.Generator().manual_seed(0)
    chances = torch.rand(60, 3, generator=generator).softmax(dim=-1)
    labels = torch.randint(3, (60,), generator=generator)
    alone = fit_set_threshold(chances, labels, 0.9)
    sizes = torch.randint(1, 9, (60,), generator=generator)
    leaves = [str(leaf) for leaf, size in enumerate(sizes.tolist()) for _ in range(size)]
    many = fit_set_threshold(
        chances.repeat_interleave(sizes, 0), labels.repeat_interleave(sizes), 0.9, leaves
    )
    assert many == pytest.approx(alone)


def test_distance_keeps_its_false_alarm_and_sees_what_breaks_a_correlation() -> None:
    rng = torch.Generator().manual_seed(0)
    shared = torch.randn(3000, 1, generator=rng)
    usual = torch.cat([shared, shared + 0.1 * torch.randn(3000, 1, generator=rng)], dim=1)
    usual = torch.cat([usual, torch.full((3000, 1), 2.0)], dim=1)  # a channel that never changes
    distance = FeatureDistance.fit(usual[:1000], usual[1000:2000], 0.05)
    alarms = float((distance(usual[2000:]) > 1).float().mean())
    assert alarms == pytest.approx(0.05, abs=0.03)
    assert distance(torch.tensor([[1.5, -1.5, 2.0]])) > 3  # each channel alone is usual


def test_a_leaf_photographed_often_does_not_move_the_limit_of_distance() -> None:
    """Thirty near copies of a strange leaf say as much as one photo of it."""
    rng = torch.Generator().manual_seed(0)
    train, val = (torch.randn(count, 8, generator=rng) for count in (500, 100))
    strange = torch.full((1, 8), 4.0)
    copies = strange + 0.01 * torch.randn(30, 8, generator=rng)
    others = [str(leaf) for leaf in range(100)]

    def limit(photos: Tensor, groups: list[str] | None) -> float:
        distance = FeatureDistance.fit(train, torch.cat([val, photos]), 0.05, groups)
        return 1 / float(distance(strange)[0])

    once, often = limit(strange, [*others, "strange"]), limit(copies, [*others, *["strange"] * 30])
    assert often == pytest.approx(once)
    assert limit(copies, None) > 1.5 * once, "counted as photos they do move it"


@pytest.mark.parametrize("seed", [4, 8, 12, 22])
def test_too_few_leaves_take_the_farthest_photo_for_the_limit(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    train, val = (torch.randn(count, 256, generator=rng) for count in (200, 30))
    distance = FeatureDistance.fit(train, val, 0.05, [str(photo % 10) for photo in range(30)])
    assert float(distance(val).max()) == pytest.approx(1, abs=1e-4)
    # rounding depends on what a photo is computed beside
    alone = torch.cat([distance(photo[None]) for photo in val])
    assert max(distance(val).max(), alone.max()) <= 1


def test_measure_agrees_with_counting_and_the_plain_form_comes_back() -> None:
    logits, labels = drawn_logits(600)
    features = torch.randn(600, 4, generator=torch.Generator().manual_seed(2))
    readings = Readings(logits * 3, features, labels)
    doubt = Doubt.fit(readings, readings, 0.8, 0.1)
    assert doubt.val["calibration_error"] < doubt.val["calibration_error_before"] / 2  # type: ignore[operator]
    assert doubt.val["coverage"] == pytest.approx(0.8, abs=0.01)
    assert doubt.val["unknown"] == pytest.approx(0.1, abs=0.01)
    shares = [doubt.val[name] for name in ("answered", "unsure", "unknown")]
    assert math.fsum(share for share in shares if share is not None) == pytest.approx(1)
    again = Doubt.from_plain(doubt.to_plain())
    assert again.measure(readings) == doubt.val
    broken = {**doubt.to_plain(), "temperature": float("nan")}
    with pytest.raises(ValueError, match="sound"):
        Doubt.from_plain(broken)


def test_doubt_counts_leaves_for_both_of_its_limits() -> None:
    logits, labels = drawn_logits(200)
    rng = torch.Generator().manual_seed(3)
    features = torch.randn(200, 4, generator=rng)
    train = Readings(logits, features, labels)
    # the last leaf is strange, and the head is wrong on it
    often = torch.cat([torch.arange(100), torch.full((30,), 100)])
    strange = features.clone()
    strange[100], logits[100] = 9.0, -9.0 * torch.eye(5)[labels[100]]
    once = Readings(logits[:101], strange[:101], labels[:101], (), [str(n) for n in range(101)])
    siblings = Readings(
        logits[often], strange[often], labels[often], (), [str(n) for n in often.tolist()]
    )
    alone, together = (Doubt.fit(train, val, 0.95, 0.05) for val in (once, siblings))
    assert together.distance(strange) == pytest.approx(alone.distance(strange))
    # the temperature counts photos, so that probabilities differ
    threshold = fit_set_threshold(
        together.probabilities(once.logits), once.target, 0.95, once.groups
    )
    assert together.set_threshold == pytest.approx(threshold)


def test_verdicts() -> None:
    names = ["a", "b"]
    assert Verdict((1,), 0.5).answer(names) == "b"
    assert Verdict((1, 0), 0.5).answer(names) == "unsure"
    assert Verdict((), 0.5).answer(names) == "unsure"
    assert Verdict((1,), 1.5).answer(names) == "not a known leaf"
    assert Verdict((1,), float("nan")).label is None


@pytest.mark.parametrize(("photos", "coverage"), [(18, 0.95), (8, 0.9), (19, 0.95), (9, 0.9)])
def test_that_nothing_is_answered_is_told_with_the_reason(photos: int, coverage: float) -> None:
    logits, labels = drawn_logits(photos)
    features = torch.randn(photos, 4, generator=torch.Generator().manual_seed(2))
    readings = Readings(logits, features, labels)
    doubt = Doubt.fit(readings, readings, coverage, 0.1)
    said = describe(doubt)
    if photos in (9, 19):
        assert not doubt.no_promise
        assert len(said) == 3
        return
    assert f"a coverage of {coverage}, which takes {photos + 1}: " in doubt.no_promise
    assert said[-1] == doubt.no_promise
    verdicts = doubt.verdicts(doubt.probabilities(logits), torch.zeros(photos))
    assert not any(verdict.label is not None for verdict in verdicts)
