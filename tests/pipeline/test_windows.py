"""A checkpoint that was trained on photos in windows, from one end to the other."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.pipeline.classifier import Classifier
from lazarus_pl.shipped_config import shipped_config
from tests.conftest import Lazarus

CONFIG = shipped_config("patches/windows.yaml").resolve()


@pytest.fixture(scope="module")
def trained(windowed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of the patch head and of a head on pooled features."""
    from lazarus_pl.cli import main

    found = {}
    for name in ("patches/windows", "heads/linear"):
        folder = tmp_path_factory.mktemp("run")
        words = ["fit", "-c", shipped_config(f"{name}.yaml").resolve()]
        words += [f"--data.init_args.cache={windowed}", "--trainer.max_epochs=2"]
        words += ["--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={folder}"]
        assert main(list(map(str, words))) == 0
        found[name] = next(folder.rglob("best.ckpt"))
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["patches/windows", "heads/linear"])
def test_classify_reads_photos_as_the_cache_did(
    name: str,
    trained: dict[str, Path],
    windowed: Path,
    drawn_large: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("-c", shipped_config(f"{name}.yaml"), f"--data.init_args.cache={windowed}")
    silent = ("--trainer.logger=false", "--trainer.enable_progress_bar=false")
    done = lazarus("predict", *words, f"--ckpt_path={trained[name]}", *silent)
    assert done.code == 0, done.err
    done = lazarus("classify", "--ckpt", trained[name], "--data", drawn_large, "--out", "p.csv")
    assert done.code == 0, done.err
    here = {row["file"]: row for row in rows(Path("p.csv"))}
    cached = rows(Path("predictions.csv"))
    assert len(here) == len(FeatureCache(windowed).manifest.photos)
    assert len(cached) > 3
    for row in cached:
        assert float(row["probability"]) == pytest.approx(
            float(here[row["file"]]["probability"]), abs=5e-3
        )


def test_explain_reads_photos_as_the_cache_did(
    trained: dict[str, Path], windowed: Path, drawn_large: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    checkpoint = trained["patches/windows"]
    assert Classifier(checkpoint).windows == WindowsSpec(2)
    words = ("--data", drawn_large, "--out", tmp_path, "--methods", "[attention,evidence]")
    done = lazarus("explain", "--ckpt", checkpoint, *words)
    assert done.code == 0, done.err
    cache = FeatureCache(windowed)
    photos = [photo.path for photo in cache.manifest.photos]
    grids = dict(zip(photos, cache.grids("grid16", range(len(photos))), strict=True))
    explained = rows(tmp_path / "explanations.csv")
    assert len(explained) == len(photos)
    assert len({grid.shape for grid in grids.values()}) == 3
    for row in explained:
        stem = row["file"].removesuffix(".jpg").replace("/", "__")
        path = next((tmp_path / "maps").glob(f"*{stem.split('__')[-1]}.npz"))
        maps = np.load(path)
        assert maps["attention"].shape == grids[row["file"]].shape[:2]
        assert maps["attention"].sum() == pytest.approx(1, abs=1e-3)


def test_calibrate_learns_from_padded_batches_what_it_would_from_photos_alone(
    trained: dict[str, Path], windowed: Path, drawn_large: Path
) -> None:
    from lazarus_pl.doubt.readings import Readings
    from lazarus_pl.tasks.load_task import load_task

    task = load_task(trained["patches/windows"])
    readings = Readings.of_side(task, windowed, "val")
    classifier = Classifier(trained["patches/windows"], options=EngineOptions(engine="torch"))
    for place, file in enumerate(readings.files):
        pixels = classifier.read((drawn_large / file).read_bytes())
        alone = Readings.of(task, classifier.features(pixels[None]))
        for name in ("logits", "features"):
            np.testing.assert_allclose(
                getattr(alone, name)[0].detach().numpy(),
                getattr(readings, name)[place].numpy(),
                atol=0.05,
            )


def test_calibrate_and_the_other_verbs_that_take_it_or_say_why_not(
    trained: dict[str, Path],
    windowed: Path,
    cache: Path,
    drawn_large: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # validate without a logger leaves its config where it is called
    monkeypatch.chdir(tmp_path)
    checkpoint = trained["patches/windows"]
    done = lazarus("calibrate", "--ckpt", checkpoint, "--cache", cache)
    assert done.code == 2
    assert "was trained on features of photos in 2 windows" in done.err
    done = lazarus("export", "--ckpt", checkpoint, "--out", tmp_path / "onnx")
    assert done.code == 2
    assert "a graph takes them as a whole" in done.err
    words = ("--ckpt", checkpoint, "--data", drawn_large, "--out", tmp_path / "p.csv")
    done = lazarus("classify", *words, "--tta", 2)
    assert done.code == 2
    assert "leave out --tta" in done.err
    words = ("--ckpt", trained["heads/linear"], "--data", drawn_large, "--out", tmp_path / "e")
    done = lazarus("explain", *words)
    assert done.code == 2
    assert "no maps of photos in windows" in done.err
    config = ("-c", CONFIG, f"--data.init_args.cache={cache}", f"--ckpt_path={checkpoint}")
    done = lazarus("validate", *config, "--trainer.logger=false")
    assert done.code == 2
    assert "the cache holds those of whole photos" in done.err
    config = ("-c", shipped_config("finetune/progressive.yaml"), "--trainer.logger=false")
    start = f"--model.init_args.start={checkpoint}"
    done = lazarus("fit", *config, f"--data.init_args.cache={windowed}", start)
    assert done.code == 2
    assert done.err.count("lazarus: error: ") == 1


def test_mixup_of_grids_that_differ_is_a_sentence(
    windowed: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    words = ("-c", shipped_config("heads/attention.yaml"), "--model.init_args.mixup=0.2")
    quiet = (f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false")
    done = lazarus("fit", *words, f"--data.init_args.cache={windowed}", *quiet)
    assert done.code == 2
    assert "mixup 0.2 needs grids of one size" in done.err


def test_a_head_on_pooled_features_needs_no_mask(
    windowed: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    words = ("-c", shipped_config("heads/mlp.yaml"), "--trainer.max_epochs=1")
    quiet = (f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false")
    layers = "--data.init_args.layers=[pooled, grid16]"
    done = lazarus("fit", *words, f"--data.init_args.cache={windowed}", layers, *quiet)
    assert done.code == 0, done.err
