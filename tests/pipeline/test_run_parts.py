"""What a run is made of, part by part."""

from __future__ import annotations

import json
import mmap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse.typing import Path_fr

from lazarus_pl.duration import read_duration, say_duration
from lazarus_pl.errors import LazarusError
from lazarus_pl.pipeline.run.grid_options import GridOptions
from lazarus_pl.pipeline.run.leaf_bootstrap import LeafBootstrap
from lazarus_pl.pipeline.run.peak_memory import PeakMemory
from lazarus_pl.pipeline.run.report.conclusion import Conclusion
from lazarus_pl.pipeline.run.report.line_chart import LineChart
from lazarus_pl.pipeline.run.resumable_fit import ResumableFit, affordable_epochs
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.side_predictions import SidePredictions
from lazarus_pl.pipeline.run.side_scores import SideScores
from lazarus_pl.pipeline.run.stage_options import StageOptions
from lazarus_pl.pipeline.run.stage_record import StageRecord, sizes
from lazarus_pl.pipeline.run.stages.choose_stage import ChooseStage
from lazarus_pl.pipeline.run.stages.fit_stage import FitStage
from lazarus_pl.pipeline.run.stages.grid_stage import GridStage
from lazarus_pl.pipeline.run.stages.patches_stage import PatchesStage
from lazarus_pl.pipeline.run.stages.views_head_stage import ViewsHeadStage
from lazarus_pl.pipeline.run.stages.views_stage import ViewsStage
from lazarus_pl.views.views_spec import ViewsSpec
from tests.conftest import save_noise


def said(photos: int, per_leaf: int, classes: int = 3, seed: int = 0) -> SidePredictions:
    """Predictions that are right or wrong for whole leaves."""
    rng = np.random.default_rng(seed)
    leaves = np.arange(photos) // per_leaf
    target = leaves % classes
    wrong = rng.random(leaves.max() + 1) < 0.3
    best = np.where(wrong[leaves], (target + 1) % classes, target)
    probability = rng.dirichlet(np.ones(classes), photos).astype(np.float32) * 0.3
    probability[np.arange(photos), best] += 0.7
    return SidePredictions(
        [f"class {n}" for n in range(classes)],
        [f"{n}.jpg" for n in range(photos)],
        [str(leaf) for leaf in leaves],
        target.astype(np.int64),
        probability,
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15min", 900),
        ("1h", 3600),
        ("1h 30min", 5400),
        ("2.5 min", 150),
        ("45 s", 45),
        ("90sec", 90),
    ],
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5min", "0", "0s", "5 min or so", "nan", "inf"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(LazarusError, match="is no time"):
        read_duration(text)


@pytest.mark.parametrize("text", ["5", " 2.5 "])
def test_a_bare_number_is_no_time(text: str) -> None:
    with pytest.raises(LazarusError, match=f"without a unit: give {text.strip()}s, "):
        read_duration(text)


def test_times_as_people_read_them() -> None:
    assert [say_duration(s) for s in (4.4, 99, 150, 1200, 7200, 40 * 86400)] == [
        *("4 s", "99 s", "2.5 min", "20 min", "2.0 h", "40 days"),
    ]


def test_scores_are_those_of_the_libraries() -> None:
    import torch
    from sklearn.metrics import f1_score, precision_recall_fscore_support
    from torchmetrics.functional.classification import multiclass_calibration_error

    given = said(200, 4)
    scores = SideScores.of(given)
    truth, best = given.target, given.predicted
    assert scores.macro_f1 == pytest.approx(f1_score(truth, best, average="macro"))
    assert scores.accuracy == pytest.approx((truth == best).mean())
    rows = precision_recall_fscore_support(truth, best)
    for number, row in enumerate(scores.classes.values()):
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(
            [float(column[number]) for column in rows]
        )
    ece = multiclass_calibration_error(
        torch.from_numpy(given.probability), torch.from_numpy(truth), num_classes=3, n_bins=15
    )
    assert scores.calibration_error == pytest.approx(float(ece), abs=1e-6)


def test_leaves_not_photos_are_the_witnesses() -> None:
    """The same photos, taken for independent, would make the interval twice as narrow."""
    clustered = said(480, 8)
    single = SidePredictions(
        clustered.class_names,
        clustered.files,
        clustered.files,
        clustered.target,
        clustered.probability,
    )
    ours, naive = LeafBootstrap.of(clustered), LeafBootstrap.of(single)
    assert ours is not None
    assert naive is not None
    score = SideScores.of(clustered).macro_f1
    assert ours.macro_f1[0] < score < ours.macro_f1[1]
    width, narrow = (np.diff(b.macro_f1)[0] for b in (ours, naive))
    assert width > 2 * narrow
    # of a binomial share the interval is known
    photos = len(single.files)
    accuracy = SideScores.of(single).accuracy
    expected = 2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / photos)
    assert np.diff(naive.accuracy)[0] == pytest.approx(expected, rel=0.1)
    assert ours == LeafBootstrap.of(clustered), "the same seed, the same interval"
    low, high = ours.macro_f1
    assert ours.error == pytest.approx((high - low) / (2 * 1.96), rel=0.1)
    assert LeafBootstrap.of(said(12, 4)) is None, "one leaf a class"


def test_an_interval_without_width_is_none() -> None:
    """The only mistake lies in a class of one leaf: every draw has it."""
    target = np.repeat([0, 1, 2], [4, 8, 8])
    groups = [*["a"] * 4, *(f"leaf {photo}" for photo in range(16))]
    probability = np.eye(3, dtype=np.float32)[target]
    probability[0] = [0.1, 0.8, 0.1]
    names = [f"{photo}.jpg" for photo in range(20)]
    given = SidePredictions(["a", "b", "c"], names, groups, target, probability)
    assert LeafBootstrap.of(given) is None
    told = Conclusion.of(_result(given), {"findings": []})
    assert told.trust == "care"
    assert told.headline == "Test cannot say how far to trust these scores."
    assert not any("interval" in reason for reason in told.reasons)


def test_classes_that_count_are_the_same_in_every_draw() -> None:
    """A class that test lacks, and that one photo is taken for, is in all draws or in none."""
    target = np.repeat([0, 1], 50)
    probability = np.eye(3, dtype=np.float32)[target]
    probability[0] = [0.1, 0.1, 0.8]
    names = [f"{photo}.jpg" for photo in range(100)]
    given = SidePredictions(["a", "b", "c"], names, names, target, probability)
    interval, score = LeafBootstrap.of(given), SideScores.of(given).macro_f1
    assert interval is not None
    low, high = interval.macro_f1
    assert low < score < high < score + 0.02
    told = Conclusion.of(_result(given), {"findings": []})
    assert any("test has no photo of c: nothing is known" in reason for reason in told.reasons)


def test_the_conclusion_on_scores_without_a_mistake() -> None:
    told = Conclusion.of(_result(_all_right(said(600, 4))), None)
    assert told.trust == "care"
    assert "can be trusted for photos like these, with care" in told.headline
    # 1 - 0.05 ** (1 / 150)
    assert "no mistake was seen in 150 of them does not rule out mistakes in 2%" in told.how_good
    few = Conclusion.of(_result(_all_right(said(60, 4))), {"findings": []})
    assert few.trust == "care"
    assert few.headline == "Test cannot say how far to trust these scores."
    assert any("too few leaves" in reason for reason in few.reasons)


def test_the_conclusion_on_probabilities() -> None:
    def told(shares: list[tuple[float, int, int]]) -> list[str]:
        """Reasons, where of so many photos of a confidence so many are right."""
        result = _result(said(600, 4))
        bins = [
            {"confidence": sure, "accuracy": right / photos, "photos": photos}
            for sure, photos, right in shares
        ]
        photos = sum(row["photos"] for row in bins)
        scores = result["test"]
        assert isinstance(scores, dict)
        scores["reliability"] = bins
        for name in ("confidence", "accuracy"):
            scores[name] = sum(row[name] * row["photos"] for row in bins) / photos
        scores["calibration_error"] = (
            sum(abs(row["confidence"] - row["accuracy"]) * row["photos"] for row in bins) / photos
        )
        return [reason for reason in Conclusion.of(result, {"findings": []}).reasons]

    assert any("20% too high on average" in reason for reason in told([(0.9, 200, 140)]))
    assert any("10% too low on average" in reason for reason in told([(0.8, 200, 180)]))
    apart = told([(0.9, 200, 150), (0.6, 200, 150)])
    assert any("too low for others: off by 15%" in reason for reason in apart)
    assert not any("robabilities" in reason for reason in told([(0.9, 200, 176)]))
    # as far off as true probabilities are on so few photos
    assert not any("robabilities" in reason for reason in told([(0.5, 6, 2), (0.8, 6, 6)]))


def test_the_conclusion_says_that_nothing_is_answered() -> None:
    result = {**_result(said(600, 4)), "no_promise": "no photo is answered, since val is small"}
    reasons = Conclusion.of(result, {"findings": []}).reasons
    assert "No photo is answered, since val is small." in reasons


@pytest.mark.parametrize(
    ("epochs", "estimate", "allowed", "fitting"),
    [
        (10, 100.0, None, 10),
        (10, 100.0, 200.0, 10),
        (10, 100.0, 55.0, 5),
        (10, 100.0, 25.0, 0),
        (2, 100.0, 60.0, 0),
        (10, None, 60.0, 10),
        (10, None, 0.0, 0),
    ],
)
def test_epochs_that_there_is_time_for(
    epochs: int, estimate: float | None, allowed: float | None, fitting: int
) -> None:
    assert affordable_epochs(epochs, estimate, allowed, least_share=0.3) == fitting


def test_the_schedule_keeps_time_for_what_must_be_done() -> None:
    schedule = Schedule(budget=100)
    schedule.expect({"grid": 30, "finetune": 60, "test": 10})
    assert schedule.left == 100
    schedule.end("grid", 45)
    schedule.begin("finetune")
    assert schedule.allowed(["test"]) == 45
    schedule.revise(20)
    assert schedule.left == pytest.approx(30, abs=1)
    assert "left for the whole" in str(schedule)
    schedule.expect({"extract": None, "test": 10})
    assert schedule.left is None, "not of all is it known"
    assert Schedule().allowed(["test"]) is None
    assert str(Schedule()) == ""


def test_the_peak_of_memory_is_seen() -> None:
    with PeakMemory() as memory:
        begun = memory.rss_mb
        # not np.ones: it may be given memory that earlier tests freed and glibc kept
        with mmap.mmap(-1, 320_000_000) as block:
            block.write(b"1" * len(block))
            until = time.monotonic() + 20
            while memory.rss_mb < begun + 250 and time.monotonic() < until:
                time.sleep(0.1)
    with PeakMemory() as later:
        time.sleep(0.1)
    assert memory.rss_mb > later.rss_mb + 250


def test_a_peak_on_the_gpu_outlives_a_count_that_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = {"peak": 9e9}
    for name, answer in {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "reset_peak_memory_stats": lambda: counted.update(peak=0),
        "max_memory_allocated": lambda: counted["peak"],
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    with PeakMemory() as memory:
        assert counted["peak"] == 0
        counted["peak"] = 3e9
        time.sleep(0.5)
        counted["peak"] = 1e9
    assert memory.gpu_mb == 3000


def test_a_gpu_that_nothing_has_used_yet_has_no_count_to_begin_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise RuntimeError("Invalid device argument")

    for name, answer in {
        "is_available": lambda: True,
        "is_initialized": lambda: False,
        "reset_peak_memory_stats": refuse,
        "max_memory_allocated": lambda: 0,
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    with PeakMemory() as memory:
        pass
    assert memory.gpu_mb == 0


def test_a_record_holds_until_something_changes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("what it wrote")
    record = StageRecord("grid", "done", "digest", files=sizes([tmp_path / "a"], tmp_path))
    record.write(tmp_path)
    again = StageRecord.read(tmp_path, "grid")
    assert again == record
    assert record.holds(tmp_path, "digest", None)
    assert not record.holds(tmp_path, "another", None)
    (tmp_path / "a").write_text("cut")
    assert not record.holds(tmp_path, "digest", None)
    short = StageRecord("finetune", "shortened", "digest", budget=60)
    assert short.holds(tmp_path, "digest", 60)
    assert not short.holds(tmp_path, "digest", 120), "with more time it is done whole"
    (tmp_path / "stages" / "grid.json").write_text("{")
    assert StageRecord.read(tmp_path, "grid") is None


def settings_of(tmp_path: Path, **options: Any) -> RunSettings:  # noqa: ANN401
    (tmp_path / "photos" / "a").mkdir(parents=True, exist_ok=True)
    save_noise(tmp_path / "photos" / "a" / "1.png")
    return RunSettings(tmp_path / "photos", tmp_path / "run", **options)


def test_the_time_of_the_grid_goes_by_its_epochs(tmp_path: Path) -> None:
    def seconds(**overrides: int) -> float | None:
        told = {f"trainer.{name}": value for name, value in overrides.items()}
        stage = GridStage(settings_of(tmp_path, grid=GridOptions(overrides=told)))
        return stage.estimate({"nine heads": 60.0})

    assert seconds() == pytest.approx(60.0)
    assert seconds(max_epochs=10) == pytest.approx(60.0 * 9 * 10 / 300)
    assert GridStage(settings_of(tmp_path)).estimate({}) is None


def test_other_maps_are_no_reason_to_train_again(tmp_path: Path) -> None:
    few, many = (PatchesStage(settings_of(tmp_path, gallery=number)) for number in (0, 2))
    assert few.digest({}) != many.digest({})
    assert FitStage.digest(few, {}) == FitStage.digest(many, {})


def test_the_grids_winner_may_have_learnt_from_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = ChooseStage(settings_of(tmp_path))
    winner = tmp_path / "run" / "grid" / "runs" / "mlp-views4"
    winner.mkdir(parents=True)
    (tmp_path / "run" / "grid" / "summary.json").write_text('{"run": "mlp-views4"}')
    given = said(60, 2)

    def on_val(self: ChooseStage, before: object, stage: str, path: str) -> SidePredictions | None:
        return given if stage == "grid" else None

    monkeypatch.setattr(ChooseStage, "_on_val", on_val)
    for views in (0, 4):
        (winner / "config.yaml").write_text(f"data: {{init_args: {{views: {views}}}}}")
        (candidate,) = stage._candidates({})
        assert candidate.on_views == bool(views)


def test_a_chart_escapes_names_and_leaves_out_what_is_not_finite() -> None:
    chart = LineChart(
        {"<i>a": [(1, 0.5), (2, float("nan")), (3, 0.7)], "b & c": [(1, 0.1)]},
        "epoch",
        "score",
        [(2.0, "<u>thaws")],
    ).__html__()
    assert "<i>a" not in chart
    assert "&lt;i&gt;a" in chart
    assert "b &amp; c" in chart
    assert "<u>" not in chart
    assert "nan" not in chart
    assert LineChart({}, "epoch", "score").__html__() == ""


def _result(given: SidePredictions) -> dict[str, object]:
    from dataclasses import asdict

    scores, interval = asdict(SideScores.of(given)), LeafBootstrap.of(given)
    figures = asdict(interval) if interval else None
    content: dict[str, object] = json.loads(
        json.dumps({"test": scores, "val": scores, "interval": figures})
    )
    return content


def _all_right(given: SidePredictions) -> SidePredictions:
    return SidePredictions(
        given.class_names,
        given.files,
        given.groups,
        given.target,
        np.eye(3, dtype=np.float32)[given.target],
    )


def test_the_conclusion_follows_the_figures() -> None:
    given = said(600, 4)
    careful = Conclusion.of(_result(given), None)
    assert careful.trust == "care"
    assert "can be trusted for photos like these, with care" in careful.headline
    assert "of 600 photos" in careful.how_good
    assert "class 0 for class 1" in careful.confuses
    leak = {"findings": [{"severity": "fault", "section": "leak", "text": "It flatters."}]}
    flattered = Conclusion.of(_result(given), leak)
    assert flattered.trust == "no"
    assert flattered.reasons[0] == "It flatters."
    assert "never seen" not in flattered.how_good
    assert "never seen" in careful.how_good
    right = _all_right(given)
    sure = Conclusion.of(_result(right), {"findings": []})
    assert sure.trust == "yes"
    assert sure.confuses == "It confused nothing."
    unseen = Conclusion.of(_result(right), None)
    assert unseen.trust == "care"
    assert any("not audited" in reason for reason in unseen.reasons)
    shortcut = {"findings": [{"severity": "warning", "section": "shortcuts", "text": "Borders."}]}
    assert Conclusion.of(_result(right), shortcut).trust == "care"
    sessions = {
        "findings": [{"severity": "warning", "section": "sessions", "text": "Half."}],
        "sessions": {"classes": 2, "recall": 0.48, "on_val": 0.83},
    }
    elsewhere = Conclusion.of(_result(right), sessions)
    assert elsewhere.trust == "care"
    assert any("finds 48% where it finds 83% on val: on" in reason for reason in elsewhere.reasons)
    sessions["sessions"] = {"classes": 2, "recall": 0.65, "on_val": 0.5}
    better = Conclusion.of(_result(right), sessions)
    assert not any("expect less" in reason for reason in better.reasons)
    sessions["sessions"] = {"classes": 0, "recall": None, "on_val": None}
    assert Conclusion.of(_result(right), sessions).trust == "yes"
    alone = Conclusion.of(_result(said(12, 4)), None)
    assert "too few, or too alike, for an interval" in alone.how_good
    without = Conclusion.of({**_result(right), "test": None, "interval": None}, None)
    assert without.headline == "No photos are left to say how far to trust these scores."
    assert "There are no test photos" in without.how_good
    lonely = Conclusion.of(_result(_all_right(said(12, 4))), None)
    assert lonely.trust == "care"
    assert "cannot say how far to trust" in lonely.headline
    few = Conclusion.of(_result(said(24, 4)), None)
    assert any("fewer than 5 leaves" in reason for reason in few.reasons)


def test_views_leave_time_for_their_head_and_fine_tuning_comes_last(tmp_path: Path) -> None:
    costs = {"extraction": 60.0, "patch attention": 30.0}
    asked = RunSettings(tmp_path, tmp_path / "run", views=ViewsSpec(6, "field"))
    stage, head = ViewsStage(asked), ViewsHeadStage(asked)
    views, half = stage.estimate(costs), 0.5 * (head.estimate(costs) or 0.0)
    assert views is not None
    # whatever the fine-tuning would take
    assert stage._bearable(views + half + 1, costs) > views
    assert stage._bearable(views + half - 1, costs) < views
    alone = ViewsStage(replace(asked, views_head=StageOptions(skip=True)))
    assert alone._bearable(views + half + 1, costs) < views
    # fewer of them rather than none
    shares = (1.0, 0.99, 0.5, 0.17, 0.16, 0.0)
    counts = [stage._affordable(half + share * views + 1e-6, costs) for share in shares]
    assert counts == [6, 5, 3, 1, 0, 0]
    assert stage._affordable(None, costs) == 6


@pytest.mark.parametrize(
    ("told", "views", "weight"),
    [("", 6, 0.3), ("views: all", 6, 0.3), ("views: 3, plain_weight: 0.6", 3, 0.6)],
)
def test_a_config_of_ones_own_says_how_it_learns_from_views(
    told: str, views: int, weight: float, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(f"data: {{init_args: {{{told}}}}}\n")
    options = StageOptions(config=Path_fr(str(own)))
    asked = RunSettings(tmp_path, tmp_path / "run", views=ViewsSpec(6, "field"), views_head=options)
    stage = ViewsHeadStage(asked)
    assert stage.views({}) == {}
    given = stage.views({"views": StageRecord("views", "done", "digest")})
    assert given["data.init_args.views"] == views
    assert given["data.init_args.plain_weight"] == weight


@pytest.mark.parametrize(
    ("callbacks", "keeps"),
    [
        ("[{class_path: ModelCheckpoint, init_args: {save_last: true}}]", True),
        # a copy of the best
        ("[{class_path: ModelCheckpoint, init_args: {monitor: x, save_last: true}}]", False),
        ("{class_path: callbacks.CheckpointVersions}", True),
        ("null", False),
    ],
)
def test_which_configs_keep_their_last_epoch(callbacks: str, keeps: bool, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(f"trainer: {{callbacks: {callbacks}}}\n")
    assert ResumableFit("x", "x", own, {}, tmp_path, tmp_path)._keeps_last() == keeps
