"""The whole chain, on drawn leaves of 64 pixels with a few epochs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from PIL import Image, ImageOps

from callbacks.version_files import is_whole
from lazarus_pl.cli import main
from lazarus_pl.data.folder_lock import FolderLock
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.data.table import read_table
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine import Engine
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.grid.grid_spec import GridRun
from lazarus_pl.grid.run_trainer import RunTrainer
from lazarus_pl.pipeline.explain import explain_batch
from lazarus_pl.pipeline.run.candidate import Candidate
from lazarus_pl.pipeline.run.gallery import Shown, make_gallery, read_gallery
from lazarus_pl.pipeline.run.report.curves import read_curves
from lazarus_pl.pipeline.run.report.write_report import write_report
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.stage_record import StageRecord
from lazarus_pl.pipeline.run.stages import choose_stage, refit_stage
from lazarus_pl.pipeline.run.stages.choose_stage import _may_compete
from lazarus_pl.pipeline.run.stages.test_stage import TestStage
from lazarus_pl.pipeline.run.stages.views_stage import ViewsStage
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.load_task import load_task
from lazarus_pl.tasks.read_checkpoint import read_checkpoint
from tests.conftest import Lazarus, save_noise
from tests.forked import begin_lazarus
from tests.pipeline.browser import find_browser, look_at

ODD = '<b>x & "y'
SCHEMA = Path(__file__).parents[2] / "lazarus_pl/pipeline/run/report/summary.schema.json"
SKIPS = ("--patches.skip", "--views_head.skip", "--finetune.skip")
QUICK = ("--audit.skip", *SKIPS, "--refit.skip", "--gallery=0")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """78 photos of 39 leaves in three classes, one of which has an odd name."""
    leaves = ProceduralLeaves(
        {"healthy": 13, "late_blight": 13, "rust": 13}, photos_per_leaf=(2, 2), size=64, seed=3
    )
    folder = leaves.write(tmp_path_factory.mktemp("odd"))
    (folder / "rust").rename(folder / ODD)
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few and short trainings."""
    folder = tmp_path_factory.mktemp("config")
    names = ("linear", "mlp")
    heads = {name: str(shipped_config(f"heads/{name}.yaml").resolve()) for name in names}
    (folder / "grid.yaml").write_text(
        json.dumps({"configs": heads, "overrides": {"trainer.max_epochs": 8}})
    )
    content = {
        "encoder": {"image_size": 64},
        "engine": "torch",
        "grid": {"config": "grid.yaml"},
        "patches": {"overrides": {"trainer.max_epochs": 2}},
        "views_head": {"overrides": {"trainer.max_epochs": 2}},
        "finetune": {"overrides": {"trainer.max_epochs": 2}},
        "views": {"count": 1},
        "gallery": 2,
    }
    (folder / "run.yaml").write_text(json.dumps(content))
    return folder / "run.yaml"


@pytest.fixture(scope="module")
def whole(photos: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from beginning to end."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main(["run", "-c", str(config), "--data", str(photos), "--out", str(out)]) == 0
    return out


def summary_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    jsonschema.validate(content, json.loads(SCHEMA.read_bytes()))
    return content


def test_the_summary_agrees_with_the_predictions(whole: Path) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    summary = summary_of(whole)
    rows = list(read_table(whole / "test" / "predictions.csv"))
    true, said = [row["label"] for row in rows], [row["predicted"] for row in rows]
    assert summary["test_macro_f1"] == pytest.approx(f1_score(true, said, average="macro"))
    assert summary["test_accuracy"] == pytest.approx(accuracy_score(true, said))
    for score in ("test_macro_f1", "test_accuracy"):
        low, high = summary[f"{score}_interval"]
        assert low <= summary[score] <= high
    assert summary["test_readings"] == 1
    assert list(summary["stages"]) == [
        *("audit", "extract", "findings", "grid", "patches", "views", "views_head", "finetune"),
        *("choose", "refit", "test"),
    ]
    # two epochs on few photos may be worse than two others
    again = summary["stages"]["refit"]["state"] == "done"
    assert summary["trained_on"] == (["train", "val"] if again else ["train"])
    for name, stage in summary["stages"].items():
        assert stage["state"] == "done" or (name == "refit" and stage["state"] == "left out")
        assert stage["seconds"] > 0
        assert stage["peak_rss_mb"] > 100
        assert stage["estimate"] > 0


def test_the_model_is_chosen_on_val_and_stands_alone(
    whole: Path, photos: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    summary = summary_of(whole)
    stages = [item["stage"] for item in summary["candidates"]]
    # two of the fine-tuning, unless its last epoch was the best one
    assert stages[:4] == ["grid", "patches", "views_head", "finetune"]
    assert stages[4:] in ([], ["finetune"])
    best = max(summary["candidates"], key=lambda item: float(item["val_macro_f1"]))
    chosen = next(item for item in summary["candidates"] if item["name"] == summary["model"])
    assert chosen["val_macro_f1"] == summary["val_macro_f1"]
    behind = best["val_macro_f1"] - chosen["val_macro_f1"]
    assert behind == 0 or behind < max(best["val_error"], chosen["val_error"])
    why = "val cannot tell it from" in summary["stages"]["choose"]["note"]
    assert why == (chosen is not best)
    before = whole / "choose" / "chosen.ckpt"
    ours, theirs = (
        read_checkpoint(path)["state_dict"] for path in (before, whole / chosen["checkpoint"])
    )
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    words = ("--ckpt", whole / "best.ckpt", "--data", photos, "--out", tmp_path / "p.csv")
    assert lazarus("classify", *words).code == 0
    for stage in ("views_head", "finetune"):
        fitted = yaml.safe_load((whole / stage / "config.yaml").read_text())
        assert fitted["data"]["init_args"]["views"] == 1
        # a cache may hold views of other policies
        policy = fitted["data"]["init_args"]["views_policy"]
        assert (whole / "cache" / "views" / policy[:12] / "views.json").is_file()
    start = Path(fitted["model"]["init_args"]["start"])
    assert start == whole / "views_head" / "checkpoints" / "best.ckpt"
    # the grid did not read test before the choice
    assert json.loads((whole / "grid" / "summary.json").read_bytes())["test_macro_f1"] is None


def test_the_report_tells_all_and_escapes_what_the_data_say(whole: Path) -> None:
    text = (whole / "report.html").read_text(encoding="utf-8")
    assert "<b>x" not in text
    assert "&lt;b&gt;x &amp; &#34;y" in text
    sections = ("data", "models", "confusion", "classes", "calibration", "maps", "finetune")
    for name in (*sections, "costs", "again"):
        assert f'id="{name}"' in text, name
    assert text.count("data:image/jpeg") >= 4
    assert "<script" not in text
    assert 'src="http' not in text


@pytest.mark.skipif(find_browser() is None, reason="no browser is installed")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_the_report_in_a_browser(whole: Path, width: int, dark: bool, tmp_path: Path) -> None:
    look = look_at(whole / "report.html", width, dark, tmp_path)
    assert look.complaints == []
    assert look.requests == [(whole / "report.html").resolve().as_uri()]
    assert look.width <= width, "the page is wider than the screen"
    assert look.pictures >= 4
    assert look.broken == 0
    assert look.smallest >= 11, "letters are too small to read"


def settings_of(out: Path, photos: Path) -> RunSettings:
    encoder = EncoderSpec(image_size=64)
    return RunSettings(
        photos, out, encoder, device="cpu", precision="32", batch_size=3, engine="torch"
    )


def told_of(names: Sequence[str], first: str, second: str) -> npt.NDArray[np.float32]:
    """Probabilities of which 0.7 and 0.2 are two classes'."""
    said = np.full(len(names), 0.1, dtype=np.float32)
    said[names.index(first)], said[names.index(second)] = 0.7, 0.2
    return said


def test_the_patch_head_draws_what_another_model_named(
    whole: Path,
    photos: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patches = whole / "patches" / "checkpoints" / "best.ckpt"
    names = load_task(patches).class_names
    files = [f"late_blight/{path.name}" for path in sorted((photos / "late_blight").iterdir())[:5]]
    shown = [Shown("hit", file, "late_blight") for file in files]
    # two neighbours in a batch of three are never told the same
    pairs = [((ODD, "healthy"), ("late_blight", ODD))[place % 2] for place in range(5)]
    told = {file: told_of(names, *pair) for file, pair in zip(files, pairs, strict=True)}
    asked: list[tuple[object, ...]] = []

    def noted(*words: Any, **more: Any) -> Engine:  # noqa: ANN401  # whatever it is called with
        asked.append(words[1:])
        return make_engine(*words, **more)

    monkeypatch.setattr("lazarus_pl.pipeline.classifier.make_engine", noted)
    settings = settings_of(whole, photos)
    out = tmp_path / "gallery"
    written = make_gallery(shown, settings, patches, out, told)
    assert asked == [(EngineOptions("cpu", "32", 3, "torch"),)]
    items = read_gallery(out)
    assert written == [out / "gallery.json", *(out / item.picture for item in items)]
    assert [item.file for item in items] == files
    assert [item.second for item in items] == [second for _, second in pairs]
    assert [round(item.second_probability, 2) for item in items] == [0.2] * 5
    rows = list(read_table(out / "explanations.csv"))
    assert [(row["predicted"], row["target"], row["probability"]) for row in rows] == [
        (first, first, "0.7000") for first, _ in pairs
    ]
    as_drawn = ("--device", "cpu", "--engine", "torch")
    for target in (ODD, "late_blight"):
        words = ("--data", out / "photos", "--out", tmp_path / target[-2:])
        assert (
            lazarus("explain", "--ckpt", patches, *words, "--target", target, *as_drawn).code == 0
        )
    for item, (target, _), place in zip(items, pairs, range(5), strict=True):
        own = tmp_path / target[-2:]
        assert item.map_says == read_table(own / "explanations.csv")[place]["predicted"]
        stem = Path(item.picture).stem
        maps, theirs = (np.load(folder / "maps" / f"{stem}.npz") for folder in (out, own))
        assert np.array_equal(maps["lesions"], theirs["lesions"])


def test_which_patch_head_may_draw_for_another_model(
    whole: Path, photos: Path, tmp_path: Path
) -> None:
    paths = {"grid": "grid/best.ckpt", "patches": "patches/checkpoints/best.ckpt"}
    for path in paths.values():
        (tmp_path / path).parent.mkdir(parents=True)
        shutil.copy(whole / path, tmp_path / path)
    stage = TestStage(settings_of(tmp_path, photos))
    grid, patches = (Candidate(name, name, path, 0.5, 0.5) for name, path in paths.items())
    assert stage._map_maker(grid, [grid, patches]) == tmp_path / patches.checkpoint
    assert stage._map_maker(patches, [grid, patches]) is None
    assert stage._map_maker(grid, [grid]) is None
    # of the user's own grid, or fine-tuned from the patch head
    own = replace(patches, stage="finetune", checkpoint="own.ckpt")
    shutil.copy(whole / patches.checkpoint, tmp_path / "own.ckpt")
    assert stage._map_maker(own, [grid, patches, own]) is None
    assert stage._map_maker(grid, [grid, replace(grid, stage="patches")]) is None
    other = torch.load(tmp_path / patches.checkpoint, weights_only=True)
    other["lazarus"]["arguments"]["class_names"] = ["healthy", "late_blight", "mildew"]
    torch.save(other, tmp_path / patches.checkpoint)
    assert stage._map_maker(grid, [grid, patches]) is None


def test_a_gallery_keeps_what_was_drawn_before_an_error(
    whole: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    patches = whole / "patches" / "checkpoints" / "best.ckpt"
    files = [f"late_blight/{path.name}" for path in sorted((photos / "late_blight").iterdir())[:5]]
    shown = [Shown("hit", file, "late_blight") for file in (files[0], "late_blight/gone.jpg")]
    shown += [Shown("miss", file, "late_blight") for file in files[1:]]
    settings, out = settings_of(whole, photos), tmp_path / "gallery"
    make_gallery(shown, settings, patches, out)
    assert [item.file for item in read_gallery(out)] == files
    assert "no heat-map of 'late_blight/gone.jpg'" in caplog.text
    # where a viewer holds a picture open, Windows does not delete it
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    make_gallery(shown[:1], settings, patches, out)
    assert [item.file for item in read_gallery(out)] == files[:1]
    calls: list[int] = []

    def full(*words: Any) -> Any:  # noqa: ANN401  # whatever it is called with
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return explain_batch(*words)

    monkeypatch.setattr("lazarus_pl.pipeline.explain.explain_batch", full)
    out = tmp_path / "cut"
    written = make_gallery(shown, settings, patches, out)
    items = read_gallery(out)
    assert [item.file for item in items] == files[:3]
    assert written == [out / "gallery.json", *(out / item.picture for item in items)]
    assert all(path.is_file() for path in written)
    assert "not all photos of the report have a heat-map: out of memory" in caplog.text
    assert len(read_table(out / "explanations.csv")) == 3


def test_the_report_says_which_model_draws_the_maps(
    whole: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    drawn_by_another = summary_of(out)["stage"] != "patches"
    items = read_gallery(out / "test" / "gallery")
    assert items
    assert all(bool(item.map_says) == drawn_by_another for item in items)
    sentence = "the map of that class is drawn by the patch attention head"
    text = (out / "report.html").read_text(encoding="utf-8")
    assert (sentence in text) == drawn_by_another
    agreed = replace(
        items[0],
        label="rust",
        predicted="rust",
        probability=0.8,
        second="late_blight",
        second_probability=0.15,
        marked=0.3,
        weak="",
        map_says="rust",
    )
    disagreed = replace(agreed, predicted="late_blight", map_says=ODD, weak="it is")
    # as samples of earlier versions
    unasked = Shown("hit", "rust/old.jpg", "rust", picture=items[0].picture)
    listed = [asdict(item) for item in (agreed, agreed, disagreed, unasked)]
    (out / "test" / "gallery" / "gallery.json").write_text(json.dumps(listed))
    stages = ("audit", "extract", "findings", "grid", "patches", "finetune", "test")
    records = {name: StageRecord.read(out, name) for name in stages}
    write_report(
        settings_of(out, photos), {name: record for name, record in records.items() if record}
    )
    text = (out / "report.html").read_text(encoding="utf-8")
    assert sentence in text
    assert text.count("Patch attention disagrees") == 1
    assert "Patch attention disagrees: &lt;b&gt;x &amp; &#34;y." in text
    assert text.count("<b>rust</b> (80\u00a0%), next late blight (15\u00a0%)") == 2
    assert "<b>rust</b>, taken for <b>late blight</b> (80\u00a0%)" in text
    assert "taken for <b></b>" not in text
    assert re.search(r"<b>rust</b>\s*<br><span class=\"soft\">old\.jpg</span>", text)
    assert text.count("Weak map: it is.") == 1
    assert text.count("30\u00a0% of the leaf is marked.") == 2


def test_a_second_run_does_nothing_without_torch_and_at_once(
    whole: Path, photos: Path, config: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    words = ["run", "-c", str(config), "--data", str(photos), "--out", str(whole)]
    code = (
        "import sys; from lazarus_pl.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or (99 if 'torch' in sys.modules else 0))"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert time.perf_counter() - started < 5
    assert done.returncode == 0, done.stderr
    assert "nothing has changed" in done.stdout
    assert "test macro-F1" in done.stdout
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert {p for p in before if before[p] != after.get(p)} <= {whole / "run.lock"}


@pytest.fixture(scope="module")
def quick_stages(
    whole: Path, photos: Path, config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run, after its quick stages alone were asked for."""
    out = tmp_path_factory.mktemp("quick") / "run"
    shutil.copytree(whole, out)
    words = ["--data", str(photos), "--out", str(out), *QUICK]
    assert main(["run", "-c", str(config), *words]) == 0
    return out


@pytest.fixture
def quick(quick_stages: Path, photos: Path, config: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of the photos and of the run, and the command of its quick stages."""
    shutil.copytree(quick_stages, tmp_path / "run")
    shutil.copytree(photos, tmp_path / "photos")
    words = ["--data", str(tmp_path / "photos"), "--out", str(tmp_path / "run"), *QUICK]
    return tmp_path / "run", ["run", "-c", str(config), *words]


def test_without_a_patch_head_the_chosen_model_draws_its_own_maps(
    quick: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = quick
    done = lazarus(*[word for word in words if word != "--gallery=0"], "--gallery=1")
    assert done.code == 0, done.err
    items = read_gallery(out / "test" / "gallery")
    assert items
    assert {item.map_says for item in items} == {""}
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" in text
    assert "patch attention head" not in text


def test_what_changed_is_done_again_and_nothing_else(
    quick: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = quick
    assert lazarus(*words).code == 0
    photo = next((out.parent / "photos" / "healthy").glob("*.jpg"))
    readings = summary_of(out)["test_readings"]
    grid = (out / "stages" / "grid.json").stat().st_mtime_ns
    os.utime(photo, ns=(1, 1))
    touched = lazarus(*words)
    assert touched.code == 0
    assert "extract: photos to features" in touched.out
    assert (out / "stages" / "grid.json").stat().st_mtime_ns == grid, "the same bytes"
    assert summary_of(out)["test_readings"] == readings
    photo.unlink()
    images = summary_of(out)["images"]
    gone = lazarus(*words)
    assert gone.code == 0
    assert (out / "stages" / "grid.json").stat().st_mtime_ns > grid
    assert summary_of(out)["images"] == images - 1
    for path in (out / "best.ckpt", out / "grid" / "best.ckpt"):
        path.write_bytes(b"cut short")
    mended = lazarus(*words)
    assert mended.code == 0
    assert (out / "best.ckpt").stat().st_size > 100
    assert (out / "grid" / "best.ckpt").stat().st_size > 100


def test_photos_that_change_come_and_go_between_runs(
    quick: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = quick
    folder = out.parent / "photos"
    before = {photo.path: photo for photo in Manifest.read(out / "cache").photos}
    changed, gone, *_ = sorted((folder / "healthy").glob("*"))
    with Image.open(changed) as image:
        ImageOps.mirror(image).save(changed)
    gone.unlink()
    for name in ("leaf 9001.1.jpg", "leaf 9001.2.jpg"):
        save_noise(folder / "late_blight" / name, 64)
    (folder / "late_blight" / "leaf 9002.1.jpg").write_bytes(b"no photo")
    # and a run that was stopped before it had seen the changes to the end
    (out / "stages" / "grid.json").unlink()
    assert lazarus(*words).code == 0
    manifest = Manifest.read(out / "cache")
    after = {photo.path: photo for photo in manifest.photos}
    assert after.keys() - before.keys() == {
        *("late_blight/leaf 9001.1.jpg", "late_blight/leaf 9001.2.jpg"),
    }
    assert before.keys() - after.keys() == {f"healthy/{gone.name}"}
    assert [rejected.path for rejected in manifest.quarantine] == ["late_blight/leaf 9002.1.jpg"]
    others = (before.keys() & after.keys()) - {f"healthy/{changed.name}"}
    assert all(after[path].sha256 == before[path].sha256 for path in others)
    assert after[f"healthy/{changed.name}"].sha256 != before[f"healthy/{changed.name}"].sha256
    # what is of one leaf is on one side, before and now
    assert len({after[path].split for path in after.keys() - before.keys()}) == 1
    summary = summary_of(out)
    assert (summary["images"], summary["quarantined"]) == (len(before) + 1, 1)
    told = {row["file"] for row in read_table(out / "test" / "predictions.csv")}
    assert told == {photo.path for photo in manifest.side("test")}
    assert "nothing has changed" in lazarus(*words).out


def test_late_stages_are_left_out_to_keep_within_the_budget(
    quick: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = quick
    late = ("patches", "views", "views_head", "finetune")
    for name in late:
        (out / "stages" / f"{name}.json").unlink()
        shutil.rmtree(out / name, ignore_errors=True)
    words = [word for word in words if word not in SKIPS]
    done = lazarus(*words, "--budget.time", "1s")
    assert done.code == 0, done.err
    summary = summary_of(out)
    for name in late:
        assert summary["stages"][name]["state"] == "left out"
        said = "the views were" if name == "views_head" else "budget"
        assert said in summary["stages"][name]["note"]
    assert summary["test_macro_f1"] is not None
    assert summary["budget_seconds"] == 1
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "<b>finetune</b>: left out" in text
    assert "left out: left out" not in text
    assert "nothing has changed" in lazarus(*words, "--budget.time", "1s").out


def test_batches_are_taken_in_parts_to_keep_within_the_budget(
    whole: Path, photos: Path, config: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    words = ["run", "-c", config, "--data", photos, "--out", out, "--budget.gpu_memory", "4GB"]
    again = lazarus(*words)
    assert again.code == 0, again.err
    # a limit of memory changes no result: only the report is written again
    before, after = summary_of(whole), summary_of(out)
    assert after["stages"] == before["stages"]
    assert (before["budget_gpu_mb"], after["budget_gpu_mb"]) == (None, 4000)
    overrides = "--finetune.overrides={budget.micro_batch: 8, trainer.max_epochs: 1}"
    done = lazarus(*words, overrides, "--refit.skip")
    assert done.code == 0, done.err
    split = summary_of(out)
    assert split["stages"]["finetune"]["note"] == "batches of 32 in parts of 8"
    assert split["candidates"][:3] == before["candidates"][:3]
    fitted = yaml.safe_load((out / "finetune" / "config.yaml").read_text())
    assert fitted["budget"] == {"gpu_memory": "4GB", "micro_batch": 8}
    text = (out / "report.html").read_text(encoding="utf-8")
    peak = split["stages"]["finetune"]["peak_gpu_mb"]
    assert ("There was no GPU to hold to its budget of 4,000 MB" in text) == (peak is None)


def test_a_late_failure_is_told_and_the_rest_is_reported(
    quick: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = quick
    words = [word for word in words if word != "--finetune.skip"]
    done = lazarus(*words, "--finetune.overrides", "{model.init_args.lr: -1}")
    assert done.code == 1
    assert "finetune failed, and the rest goes on: lr -1" in done.err
    assert "Traceback" not in done.err
    summary = summary_of(out)
    assert summary["stages"]["finetune"]["state"] == "failed"
    assert summary["stage"] == "grid"
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "finetune failed.</span> lr -1" in text


@pytest.fixture
def copied(whole: Path, photos: Path, config: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of the run, and its command without audit, patches and gallery."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    words = ["run", "-c", str(config), "--data", str(photos), "--out", str(out)]
    return out, [*words, "--audit.skip", "--patches.skip", "--gallery=0"]


def test_the_head_on_views_needs_no_other(
    copied: tuple[Path, list[str]], whole: Path, lazarus: Lazarus
) -> None:
    out, words = copied
    done = lazarus(*words, "--refit.skip", "--grid.overrides", "{model.init_args.lr: -1}")
    assert done.code == 1
    assert "failed: grid;" in done.out
    assert re.search(r"finetune .* done, unchanged", done.out)
    before, after = summary_of(whole), summary_of(out)
    assert after["stages"]["finetune"] == before["stages"]["finetune"], "it was done again"
    ours = [item["name"] for item in after["candidates"]]
    assert ours == [item["name"] for item in before["candidates"]][2:]
    text = (out / "report.html").read_text(encoding="utf-8")
    assert 'id="models"' in text
    assert "Leaderboard of the heads" not in text


def test_without_the_head_on_views_the_best_of_the_grid_is_fine_tuned(
    copied: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = copied
    words = [*words, "--views_head.skip", "--refit.skip"]
    words.append("--finetune.overrides={trainer.max_epochs: 1}")
    done = lazarus(*words)
    assert done.code == 0, done.err
    fitted = yaml.safe_load((out / "finetune" / "config.yaml").read_text())
    assert fitted["model"]["init_args"]["start"] == str(out / "grid" / "best.ckpt")
    assert fitted["data"]["init_args"]["views"] == 1
    assert "views_head" in (out / "report.html").read_text(encoding="utf-8"), "left out as asked"
    failed = lazarus(*words, "--grid.overrides", "{model.init_args.lr: -1}")
    assert failed.code == 1
    stages = summary_of(out)["stages"]
    assert stages["finetune"]["note"] == "cannot be done without grid, which failed"


def test_views_that_were_asked_for_before_are_not_taken_for_others(
    copied: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = copied
    words = [*words, "--finetune.skip", "--refit.skip"]
    learnt = []
    for policy in ("field", "light", "field"):
        done = lazarus(*words, "--views.policy", policy)
        assert done.code == 0, done.err
        fitted = yaml.safe_load((out / "views_head" / "config.yaml").read_text())
        learnt.append(fitted["data"]["init_args"]["views_policy"])
    assert learnt[0] != learnt[1]
    assert learnt[0] == learnt[2]
    fewer = lazarus(*words, "--views.policy", "field", "--views.count", "0")
    assert fewer.code == 0, fewer.err
    assert {item["stage"] for item in summary_of(out)["candidates"]} == {"grid"}


def head_on_views(candidates: Sequence[Candidate]) -> Candidate:
    return next(item for item in candidates if item.stage == "views_head")


def test_where_time_is_short_fewer_views_are_made(
    copied: tuple[Path, list[str]], lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, words = copied
    shutil.rmtree(out / "cache" / "views")
    monkeypatch.setattr(ViewsStage, "_affordable", lambda *_: 1)
    # a head is soon trained again
    monkeypatch.setattr(choose_stage, "choose", head_on_views)
    monkeypatch.setattr(refit_stage, "_on_val", lambda *_: 1.0)
    words = [*words, "--views.count", "2", "--budget.time", "1h"]
    done = lazarus(*words)
    assert done.code == 0, done.err
    stages = summary_of(out)["stages"]
    assert stages["views"]["state"] == "shortened"
    assert stages["views"]["note"].startswith("1 of 2 views of a photo")
    (table,) = (out / "cache" / "views").glob("*/jobs.csv")
    assert {row["view"] for row in read_table(table)} == {"1"}, "val's too, for the refit"
    for stage in ("views_head", "finetune"):
        fitted = yaml.safe_load((out / stage / "config.yaml").read_text())
        assert fitted["data"]["init_args"]["views"] == 1
        assert stages[stage]["state"] == "done"
    assert "nothing has changed" in lazarus(*words).out
    monkeypatch.undo()
    more = lazarus(*words[:-2], "--finetune.skip", "--refit.skip")
    assert more.code == 0, more.err
    assert summary_of(out)["stages"]["views"]["state"] == "done"
    assert {row["view"] for row in read_table(table)} == {"1", "2"}
    fitted = yaml.safe_load((out / "views_head" / "config.yaml").read_text())
    assert fitted["data"]["init_args"]["views"] == 2


def scored(path: Path, source: Path, scores: dict[str, float]) -> None:
    """A copy of a checkpoint with other scores."""
    content = torch.load(source, weights_only=True)
    content["lazarus"]["scores"] = scores
    content["epoch"] += 1
    torch.save(content, path)


def test_which_last_epoch_may_be_chosen(whole: Path, tmp_path: Path) -> None:
    best, last = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    shutil.copy(whole / "finetune" / "checkpoints" / "best.ckpt", best)
    assert not _may_compete(last), "an earlier version kept none"
    shutil.copy(best, last)
    assert not _may_compete(last), "it is the best"
    for guarded, may in ((0.9, True), (0.8, False)):
        scored(last, best, {"val/macro_f1": 0.9, "val/guarded_macro_f1": guarded})
        assert _may_compete(last) == may
    scored(last, best, {"val/macro_f1": 0.9})
    assert _may_compete(last), "a config of one's own guards no class"
    last.write_bytes(last.read_bytes()[:1000])
    assert _may_compete(last), "that it is damaged is told when it is read"


@pytest.mark.parametrize(
    ("leader", "said"), [(False, "it learnt from views, and"), (True, "learnt longer")]
)
def test_the_report_says_why_another_than_the_best_was_chosen(
    leader: bool, said: str, whole: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    path = out / "test" / "result.json"
    result = json.loads(path.read_bytes())
    first, *_, last = result["candidates"]
    first |= {"val_macro_f1": 0.99, "on_views": leader}
    last |= {"val_macro_f1": 0.985}
    path.write_text(json.dumps({**result, "chosen": last, "preferred": True}))
    records = {name: StageRecord.read(out, name) for name in ("extract", "grid", "test")}
    write_report(settings_of(out, photos), {n: record for n, record in records.items() if record})
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "or by less than one standard error" in text
    assert said in text
    assert text.count('<tr class="best">') == 2


def test_runs_of_the_grid_that_failed_are_tried_again_and_no_others(
    quick: tuple[Path, list[str]], lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, words = quick
    shutil.rmtree(out / "grid" / "runs" / "mlp")
    (out / "stages" / "grid.json").unlink()
    # of a grid that was asked for before
    old = out / "grid" / "runs" / "old"
    old.mkdir()
    shutil.copy(out / "grid" / "runs" / "linear" / "result.json", old)
    (old / "result.json").write_text(
        (old / "result.json").read_text().replace('"error": ""', '"error": "x"')
    )
    fit = RunTrainer._fit

    def full(trainer: RunTrainer, run: GridRun, started: float) -> None:
        if run.name == "mlp":
            raise RuntimeError("out of memory")
        fit(trainer, run, started)

    with monkeypatch.context() as patched:
        patched.setattr(RunTrainer, "_fit", full)
        failed = lazarus(*words)
    assert failed.code == 0, failed.err
    assert "1 of 2 runs failed, the same command tries again" in failed.out
    linear = out / "grid" / "runs" / "linear" / "result.json"
    before = linear.stat().st_mtime_ns
    again = lazarus(*words)
    assert again.code == 0, again.err
    assert "runs failed" not in summary_of(out)["stages"]["grid"]["note"]
    assert is_whole(out / "grid" / "runs" / "mlp" / "checkpoints" / "best.ckpt")
    assert linear.stat().st_mtime_ns == before
    assert "nothing has changed" in lazarus(*words).out


def test_without_any_model_there_is_still_a_report(
    quick: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = quick
    done = lazarus(*words, "--grid.overrides", "{model.init_args.lr: -1}")
    assert done.code == 1
    assert "failed: grid, choose" in done.out
    summary = summary_of(out)
    assert summary["model"] is None
    assert summary["test_macro_f1"] is None
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "There is no model." in text
    assert "all 2 runs of the grid failed" in text


def test_a_split_without_test_is_scored_on_val_and_says_so(
    quick: tuple[Path, list[str]], lazarus: Lazarus
) -> None:
    out, words = quick
    done = lazarus(*words, "--split.fractions", "[0.7, 0.3, 0]")
    assert done.code == 0, done.err
    assert "no test photos" in done.out
    summary = summary_of(out)
    assert summary["test_macro_f1"] is None
    assert summary["test_macro_f1_interval"] is None
    assert summary["val_macro_f1"] > 0
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "There are no test photos" in text


def test_one_run_a_folder(quick: tuple[Path, list[str]], lazarus: Lazarus) -> None:
    out, words = quick
    with FolderLock(out, "run"):
        done = lazarus(*words)
    assert done.code == 2
    assert f"in use by another lazarus run (process {os.getpid()} on " in done.err
    # one that died left its name behind, and the system took its lock back
    holder = {"pid": 1 << 30, "host": "elsewhere", "since": "long ago"}
    (out / "run.holder.json").write_text(json.dumps(holder))
    assert lazarus(*words).code == 0
    assert not (out / "run.holder.json").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("forks")
def test_killed_in_the_middle_the_same_command_goes_on(
    whole: Path, photos: Path, config: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    """In every stage, and again and again: benchmarks/violence.py."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "grid")
    shutil.rmtree(out / "finetune")
    moment = out / "finetune" / "plan.json"
    words = ["--data", str(photos), "--out", str(out), *SKIPS[:2], "--refit.skip", "--gallery=0"]
    process = begin_lazarus(["run", "-c", config, *words], tmp_path, tmp_path / "log")
    deadline = time.monotonic() + 120
    while not moment.exists() and process.exitcode is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.exitcode is None, "it ended before it could be killed"
    process.kill()
    process.join()
    done = lazarus("run", "-c", config, *words)
    assert done.code == 0, done.err
    assert not (out / "run.holder.json").exists()
    before, after = summary_of(whole), summary_of(out)
    heads = [item for item in before["candidates"] if item["stage"] == "grid"]
    assert [item for item in after["candidates"] if item["stage"] == "grid"] == heads
    assert after["stages"]["finetune"]["state"] == "done"
    assert len(read_curves(out / "finetune", ["val/macro_f1"])["val/macro_f1"]) == 2
    manifests = [(folder / "cache" / "manifest.csv").read_bytes() for folder in (out, whole)]
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget.time", "5"], "'5' is no time without a unit: give 5s, 5min or 5h"),
        (["--budget.time", "soon"], "'soon' is no time to keep within"),
        (["--budget.gpu_memory", "4"], "'4' is no amount of memory: give one such as 4GB"),
        (["--gallery=-1"], "--gallery -1 is negative"),
        (["--seed", "-1"], "--seed -1 cannot be"),
        (["--views.policy", "heavy"], "there is no policy 'heavy'"),
        (
            ["--grid.overrides", "{model.init_args.lrr: 1}"],
            "--grid.overrides: model: there is no config key 'lrr', did you mean 'lr'?",
        ),
        (
            ["--patches.overrides", "{trainer.max_epocs: 6}"],
            "--patches.overrides: there is no option --trainer.max_epocs, did you mean "
            "'--trainer.max_epochs'?",
        ),
        (
            ["--patches.overrides", "{trainer.max_ep: 6}"],
            "there is no option --trainer.max_ep, did you mean '--trainer.max_epochs'?",
        ),
        (["--finetune.overrides", "{model.init_args.lrr: 1}"], "no config key 'lrr'"),
        (["--finetune.config", "no.yaml"], "no.yaml"),
        (["--finetun.skip"], "did you mean '--finetune"),
        (["--data", "nowhere"], "'nowhere' does not exist"),
        (["--split.strategy", "grouped"], "give --split.regex, or a table with a 'group' column"),
        (
            ["--split.strategy", "grouped", "--split.regex", r"^plant(\d+)"],
            "does not match '<b>x",
        ),
        (["--split.strategy", "predefined"], "put the photos into train, val and test folders"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    words: list[str],
    said: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lazarus: Lazarus,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = lazarus("run", "--data", photos, "--out", "out", *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_overrides_are_looked_at_without_a_word_of_lightning(
    photos: Path, tmp_path: Path, lazarus: Lazarus, recwarn: pytest.WarningsRecorder
) -> None:
    # an earlier test may have silenced it
    warnings.simplefilter("always")
    words = ("--patches.overrides", "{trainer.max_epocs: 6}")
    assert lazarus("run", "--data", photos, "--out", tmp_path / "out", *words).code == 2
    assert not [each for each in recwarn if "LightningCLI" in str(each.message)]


def test_corrections_that_leave_photos_without_a_class_are_told_before_anything_is_written(
    noise: Callable[..., Path], tmp_path: Path, lazarus: Lazarus
) -> None:
    flat, table, out = noise({"only": 4}) / "only", tmp_path / "labels.csv", tmp_path / "run"
    name = min(path.name for path in flat.iterdir())
    table.write_text(f"path,action,suggested\n{name},keep,\n")
    words = ["run", "--data", flat, "--out", out, "--corrections", table]
    done = lazarus(*words)
    assert done.code == 2
    assert "have no class" in done.err
    assert not out.exists()
    table.write_text(f"path,action,suggested\n{name},relabel,rust\n")
    done = lazarus(*words, "--split.strategy", "grouped")
    assert done.code == 2
    assert f"finds no group for '{name}'" in done.err
    assert not out.exists()
    names = [path.name for path in flat.iterdir()]
    table.write_text("\n".join(["path,action,suggested", *(f"{n},exclude," for n in names)]))
    done = lazarus(*words)
    assert done.code == 2
    assert "the corrections exclude every photo" in done.err
    assert not out.exists()


def test_a_damaged_late_model_is_trained_again_or_does_not_compete(
    whole: Path, photos: Path, config: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    damaged = out / "patches" / "checkpoints" / "best.ckpt"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    words = ["run", "-c", config, "--data", photos, "--out", out, *SKIPS[1:]]
    done = lazarus(*words, "--audit.skip", "--gallery=0", "--refit.skip")
    assert done.code == 0, done.err
    assert is_whole(damaged)
    assert {item["stage"] for item in summary_of(out)["candidates"]} == {"grid", "patches"}


def test_a_folder_of_other_photos_is_refused_before_it_is_touched(
    quick: tuple[Path, list[str]], noise: Callable[..., Path], lazarus: Lazarus
) -> None:
    out, words = quick
    others = noise({"healthy": 6, "rust": 6}, "others")
    there = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    words = [*words, "--data", str(others)]
    words.remove("--audit.skip")
    done = lazarus(*words)
    assert done.code == 2
    assert "holds other photos" in done.err
    assert "name another folder with --out" in done.err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == there


def test_a_run_within_the_photos_is_refused(photos: Path, config: Path, lazarus: Lazarus) -> None:
    done = lazarus("run", "-c", config, "--data", photos, "--out", photos / "run")
    assert done.code == 2
    assert "name a folder elsewhere" in done.err
    assert not (photos / "run").exists()
