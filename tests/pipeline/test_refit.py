"""The chosen model, trained once more on train and val."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.cli import main
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.doubt.doubt import Doubt
from lazarus_pl.doubt.lend_doubt import lend_doubt
from lazarus_pl.errors import LazarusError
from lazarus_pl.grid.run_result import RunResult
from lazarus_pl.pipeline.run.candidate import Candidate
from lazarus_pl.pipeline.run.epoch_clock import EpochClock
from lazarus_pl.pipeline.run.refit_options import RefitOptions
from lazarus_pl.pipeline.run.report.curves import read_curves
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stages import choose_stage, refit_stage
from lazarus_pl.pipeline.run.stages.deploy_stage import DeployStage
from lazarus_pl.pipeline.run.stages.finetune_stage import FinetuneStage
from lazarus_pl.pipeline.run.stages.refit_stage import RefitStage
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.read_checkpoint import read_checkpoint
from tests.conftest import Lazarus

QUICK = ("--audit.skip", "--patches.skip", "--finetune.skip", "--views.count=0", "--gallery=0")


def full_marks(checkpoint: Path, cache: Path) -> float:
    """Few epochs on few photos may be worse than others."""
    return 1.0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """78 photos of 39 leaves in three classes."""
    leaves = dict.fromkeys(("healthy", "late_blight", "rust"), 13)
    drawn = ProceduralLeaves(leaves, photos_per_leaf=(2, 2), size=64, seed=3)
    return drawn.write(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One head, whose training would stop early."""
    folder = tmp_path_factory.mktemp("config")
    head = str(shipped_config("heads/mlp.yaml").resolve())
    (folder / "grid.yaml").write_text(
        json.dumps({"configs": {"mlp": head}, "overrides": {"trainer.max_epochs": 12}})
    )
    content = {
        "encoder": {"image_size": 64},
        "engine": "torch",
        "grid": {"config": "grid.yaml"},
        "views_head": {"overrides": {"trainer.max_epochs": 1}},
        "finetune": {"overrides": {"trainer.max_epochs": 1}},
    }
    (folder / "run.yaml").write_text(json.dumps(content))
    return folder / "run.yaml"


@pytest.fixture(scope="module")
def whole(
    photos: Path, config: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A run, and its command but for its folder."""
    out = tmp_path_factory.mktemp("whole") / "run"
    words = ["run", "-c", str(config), "--data", str(photos), *QUICK]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(refit_stage, "_on_val", full_marks)
        assert main([*words, "--out", str(out)]) == 0
    return out, words


@pytest.fixture
def copied(whole: tuple[Path, list[str]], tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of the run, and its command."""
    out = tmp_path / "run"
    shutil.copytree(whole[0], out)
    return out, [*whole[1], "--out", str(out)]


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = read_checkpoint(path)["state_dict"]
    return found


def same(one: Path, other: Path) -> bool:
    return all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def summary_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    return content


def test_the_chosen_training_is_done_again_with_val(whole: tuple[Path, list[str]]) -> None:
    out, _ = whole
    assert same(out / "best.ckpt", out / "refit" / "checkpoints" / "last.ckpt")
    assert not same(out / "best.ckpt", out / "choose" / "chosen.ckpt")
    first, again = (
        yaml.safe_load((out / folder / "config.yaml").read_text())
        for folder in ("grid/runs/mlp", "refit")
    )
    assert again["data"]["init_args"].pop("train_on") == ["train", "val"]
    assert first["data"]["init_args"].pop("train_on") == ["train"]
    assert again["data"] == first["data"]
    assert again["model"] == first["model"]
    names = [
        [item["class_path"].rsplit(".", 1)[-1] for item in each["trainer"]["callbacks"]]
        for each in (first, again)
    ]
    assert "EarlyStopping" in names[0]
    assert [name for name in names[0] if name != "EarlyStopping"] == names[1]
    # as many as there were, whether val ended them or not
    result = RunResult.read(out / "grid" / "runs" / "mlp")
    assert result is not None
    epochs = read_checkpoint(out / "best.ckpt")["epoch"] + 1
    assert epochs == again["trainer"]["max_epochs"] == result.epochs
    summary = summary_of(out)
    train, val = (len(Manifest.read(out / "cache").side(side)) for side in ("train", "val"))
    assert summary["trained_on"] == ["train", "val"]
    assert summary["stages"]["refit"]["note"] == f"{train + val} photos instead of {train}"
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "trained again on train and val together" in text


def test_it_doubts_as_the_model_before_it_learnt_to(whole: tuple[Path, list[str]]) -> None:
    out, _ = whole
    before, after = (Doubt.of_checkpoint(out / p) for p in ("choose/chosen.ckpt", "best.ckpt"))
    assert before is not None
    assert after is not None
    assert (after.temperature, after.set_threshold) == (before.temperature, before.set_threshold)
    assert after.val == before.val


def test_what_learnt_from_val_is_not_calibrated_there(
    whole: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, _ = whole
    before = (out / "best.ckpt").read_bytes()
    refused = lazarus("calibrate", "--ckpt", out / "best.ckpt", "--cache", out / "cache")
    assert refused.code == 2
    assert "was trained on the photos of val" in refused.err
    assert (out / "best.ckpt").read_bytes() == before
    done = lazarus("calibrate", "--ckpt", out / "grid" / "best.ckpt", "--cache", out / "cache")
    assert done.code == 0, done.err


def test_a_model_without_doubt_has_none_to_lend(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    last = whole[0] / "refit" / "checkpoints" / "last.ckpt"
    with pytest.raises(LazarusError, match="is not calibrated: run lazarus calibrate --ckpt"):
        lend_doubt(last, last, whole[0] / "cache", tmp_path / "lent.ckpt")
    assert not (tmp_path / "lent.ckpt").exists()


def test_without_it_the_chosen_model_stays(
    copied: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = copied
    done = lazarus(*words, "--refit.skip")
    assert done.code == 0, done.err
    assert same(out / "best.ckpt", out / "choose" / "chosen.ckpt")
    assert summary_of(out)["trained_on"] == ["train"]
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "trained again" not in text
    assert re.search(r"Left out as asked: [^.]*\brefit\.", text)


def test_where_it_fails_the_chosen_model_stays(
    copied: tuple[Path, list[str]], lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refit_stage, "_on_val", full_marks)
    out, words = copied
    config = out / "choose" / "config.yaml"
    text = config.read_text()
    # a record looks at the size
    config.write_text(text.replace("lr: 0.001", "lr: -1.00"))
    assert config.read_text() != text
    (out / "stages" / "refit.json").unlink()
    shutil.rmtree(out / "refit")
    failed = lazarus(*words)
    assert failed.code == 1
    assert "refit failed, and the rest goes on: lr -1" in failed.err
    assert same(out / "best.ckpt", out / "choose" / "chosen.ckpt")
    assert summary_of(out)["test_macro_f1"] is not None
    config.write_text(text)
    mended = lazarus(*words)
    assert mended.code == 0, mended.err
    assert same(out / "best.ckpt", out / "refit" / "checkpoints" / "last.ckpt")


def test_worse_on_what_it_has_learnt_it_is_not_taken(
    copied: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = copied
    config = out / "choose" / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("lr: 0.001", "lr: 1.e-9"))
    (out / "stages" / "refit.json").unlink()
    shutil.rmtree(out / "refit")
    done = lazarus(*words)
    assert done.code == 0, done.err
    refit = summary_of(out)["stages"]["refit"]
    assert refit["state"] == "left out"
    assert refit["note"].startswith("left out: macro-F1 on val fell from ")
    assert same(out / "best.ckpt", out / "choose" / "chosen.ckpt")
    assert not (out / "refit" / "refit.ckpt").exists()


def test_configs_of_ones_own(
    copied: tuple[Path, list[str]],
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One callback that is no list, of a name of its own, and no end but that of val."""
    monkeypatch.setattr(refit_stage, "_on_val", full_marks)
    out, words = copied
    head = tmp_path / "own.yaml"
    content = yaml.safe_load(shipped_config("heads/mlp.yaml").read_text())
    keeps = {"monitor": "val/macro_f1", "mode": "max", "filename": "mine"}
    content["trainer"] |= {
        "callbacks": {"class_path": "ModelCheckpoint", "init_args": keeps},
        "max_epochs": 3,
    }
    head.write_text(json.dumps(content))
    (tmp_path / "grid.yaml").write_text(json.dumps({"configs": {"own": str(head)}}))
    done = lazarus(*words, "--grid.config", tmp_path / "grid.yaml")
    assert done.code == 0, done.err
    assert summary_of(out)["trained_on"] == ["train", "val"]


def test_what_was_trained_on_val_does_not_compete(
    copied: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = copied
    path = out / "grid" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["lazarus"]["trained_on"] = ["train", "val"]
    torch.save(content, path)
    (out / "stages" / "choose.json").unlink()
    done = lazarus(*words)
    assert done.code == 1
    assert "does not compete: it was trained on val" in done.err
    assert summary_of(out)["model"] is None


def test_scores_of_what_was_trained_on_are_not_shown_as_such(
    whole: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, _ = whole
    curves = read_curves(out / "refit", ("train/loss", "val/macro_f1"))
    assert curves["train/loss"]
    assert not curves.get("val/macro_f1")
    assert read_curves(out / "grid" / "runs" / "mlp", ("val/macro_f1",))["val/macro_f1"]
    given = ("-c", out / "refit" / "config.yaml", "--ckpt_path", out / "best.ckpt")
    told = "it was trained on the photos of val: these scores say little"
    before = (out / "refit" / "config.yaml").read_bytes()
    assert told in lazarus("validate", *given).err
    assert told not in lazarus("test", *given).err
    # it says what was trained, whatever is asked with it
    assert (out / "refit" / "config.yaml").read_bytes() == before


def test_what_a_run_gives_is_to_be_used_and_its_stages_go_on(
    copied: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, _ = copied
    trained = out / "refit" / "checkpoints" / "last.ckpt"
    assert read_checkpoint(trained)["optimizer_states"]
    for given in ("best.ckpt", "choose/chosen.ckpt", "refit/refit.ckpt"):
        there = read_checkpoint(out / given).keys()
        assert not there & {"optimizer_states", "lr_schedulers", "loops", "callbacks"}
    words = ("-c", out / "refit" / "config.yaml", "--trainer.max_epochs", 20, "--ckpt_path")
    refused = lazarus("fit", *words, out / "best.ckpt")
    assert refused.code == 2
    assert "lacks optimizer_states" in refused.err
    assert lazarus("fit", *words, trained).code == 0


def test_without_time_for_all_of_it_the_chosen_model_stays(
    copied: tuple[Path, list[str]], lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refit_stage, "_on_val", full_marks)
    out, words = copied
    (out / "stages" / "refit.json").unlink()
    shutil.rmtree(out / "refit")
    done = lazarus(*words, "--budget.time", "1s")
    assert done.code == 0, done.err
    assert summary_of(out)["stages"]["refit"]["state"] == "left out"
    assert same(out / "best.ckpt", out / "choose" / "chosen.ckpt")
    again = lazarus(*words)
    assert again.code == 0, again.err
    assert summary_of(out)["trained_on"] == ["train", "val"]


def last_of(candidates: Sequence[Candidate]) -> Candidate:
    return candidates[-1]


@pytest.fixture(scope="module")
def on_views(
    whole: tuple[Path, list[str]],
    photos: Path,
    config: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[str]:
    """The command of a run whose fine-tuned model is chosen, after the same grid."""
    out = tmp_path_factory.mktemp("views") / "run"
    shutil.copytree(whole[0], out)
    for stage in ("choose", "refit", "test"):
        (out / "stages" / f"{stage}.json").unlink()
        shutil.rmtree(out / stage)
    words = ["run", "-c", str(config), "--data", str(photos), "--out", str(out), *QUICK[:2]]
    words += ["--gallery=0", "--views.count=1"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(choose_stage, "choose", last_of)
        patched.setattr(refit_stage, "_on_val", full_marks)
        assert main(words) == 0
    assert summary_of(out)["stage"] == "finetune"
    return words


@pytest.mark.slow
def test_a_fine_tuning_begins_as_before_and_val_gets_views(on_views: list[str]) -> None:
    out = Path(on_views[6])
    first, again = (
        yaml.safe_load((out / folder / "config.yaml").read_text())
        for folder in ("finetune", "refit")
    )
    assert again["data"]["init_args"].pop("train_on") == ["train", "val"]
    assert first["data"]["init_args"].pop("train_on") == ["train"]
    assert again["data"] == first["data"]
    assert again["model"] == first["model"]
    cache = FeatureCache(out / "cache")
    viewed = sum(len(cache.indices(side)) for side in ("train", "val"))
    listed = (next((out / "cache" / "views").iterdir()) / "jobs.csv").read_text().splitlines()
    assert len(listed) - 1 == viewed


@pytest.mark.slow
def test_asked_otherwise_afterwards_nothing_before_it_is_done_again(
    on_views: list[str], lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refit_stage, "_on_val", full_marks)
    out = Path(on_views[6])
    before = summary_of(out)
    shown = ("--refit.all_photos=true",)
    for words, new in (((), []), (shown, ["deploy", "report"]), (shown, []), ((), ["report"])):
        done = lazarus(*on_views, *words)
        assert done.code == 0, done.err
        assert re.findall(r"^\[\d+/\d+\] (\w+)", done.out, re.MULTILINE) == new
    after = summary_of(out)
    assert after["test_readings"] == before["test_readings"] == 1
    assert read_checkpoint(out / "deploy.ckpt")["lazarus"]["trained_on"][-1] == "unused"
    skipped = lazarus(*on_views, "--refit.skip")
    assert skipped.code == 0, skipped.err
    told = re.findall(r"^\[\d+/\d+\] (\w+)", skipped.out, re.MULTILINE)
    assert told == ["test", "report"]
    assert same(out / "best.ckpt", out / "choose" / "chosen.ckpt")


def test_fine_tuning_leaves_it_its_time(photos: Path, tmp_path: Path) -> None:
    asked = (RefitOptions(skip=True), RefitOptions(), RefitOptions(all_photos=True))
    without, once, twice = (RunSettings(photos, tmp_path, refit=refit) for refit in asked)
    assert without.refit_share == 0
    assert once.refit_share == pytest.approx(0.85 / 0.70)
    assert twice.refit_share == pytest.approx(1.85 / 0.70)
    costs = {
        "extraction": 100.0,
        "patch attention": 60.0,
        "fine-tuning, one epoch, backbone partly unfrozen": 100.0,
    }
    first = FinetuneStage(once).estimate(costs)
    assert first is not None
    assert RefitStage(once).estimate(costs) == pytest.approx(first * 0.85 / 0.70)
    assert DeployStage(twice).estimate(costs) == pytest.approx(first / 0.70)


def test_all_photos_in_the_end(
    copied: tuple[Path, list[str]], lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refit_stage, "_on_val", full_marks)
    out, words = copied
    before = summary_of(out)
    done = lazarus(*words, "--refit.all_photos=true")
    assert done.code == 0, done.err
    assert "refit" not in re.findall(r"^\[\d+/\d+\] (\w+)", done.out, re.M), "it was done before"
    summary = summary_of(out)
    assert summary["deploy"] == "deploy.ckpt"
    assert summary["test_macro_f1"] == before["test_macro_f1"]
    assert summary["test_readings"] == 1
    assert same(out / "best.ckpt", out / "refit" / "checkpoints" / "last.ckpt")
    assert not same(out / "deploy.ckpt", out / "best.ckpt")
    assert Doubt.of_checkpoint(out / "deploy.ckpt") is not None
    again = yaml.safe_load((out / "deploy" / "config.yaml").read_text())
    assert again["data"]["init_args"]["train_on"] == ["train", "val", "test", "unused"]
    photos = len(Manifest.read(out / "cache").photos)
    assert f"{photos} photos instead of" in summary["stages"]["deploy"]["note"]
    assert "deploy.ckpt is the same training" in (out / "report.html").read_text(encoding="utf-8")


def test_what_cannot_be_asked_together(photos: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    words = ("run", "--data", photos, "--out", tmp_path / "run")
    refused = lazarus(*words, "--refit.skip", "--refit.all_photos=true")
    assert refused.code == 2
    assert "give one of them" in refused.err
    assert not (tmp_path / "run").exists()


def test_the_clock_ends_what_does_not_fit_as_a_whole() -> None:
    class Three:
        current_epoch, max_epochs, should_stop = 0, 3, False

    for to_the_end, ends in ((False, False), (True, True)):
        trainer: Any = Three()
        clock = EpochClock("training", Schedule(), 1.5, to_the_end)
        clock._began = clock._epoch_began = time.monotonic() - 0.6
        clock.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
        assert (clock.ended_early, trainer.should_stop) == (ends, ends)


def test_a_checkpoint_is_read_without_a_trainer(whole: tuple[Path, list[str]]) -> None:
    task = ClassificationTask.load_from_checkpoint(whole[0] / "best.ckpt")
    assert task.class_names == ["healthy", "late_blight", "rust"]
