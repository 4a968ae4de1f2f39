"""What is shipped, on a GPU: within its memory, and with the answers of a CPU."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from lazarus_pl.data.decode import read_pixels
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.encoder.agreement import Agreement
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.precision import Precision
from lazarus_pl.encoder.torch_engine import TorchEngine
from lazarus_pl.shipped_config import shipped_config
from tests.conftest import Lazarus
from tests.gpu.begin_anew import begin_anew

GB = 10**9
QUIET = "--trainer.enable_progress_bar=false"
CLASSES = ("healthy", "late_blight", "rust")


@pytest.fixture(scope="session")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """180 photos of 256 px: several micro-jobs."""
    drawn = ProceduralLeaves(dict.fromkeys(CLASSES, 12), photos_per_leaf=(5, 5))
    return drawn.write(tmp_path_factory.mktemp("leaves"))


@pytest.fixture(scope="session")
def features(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that a GPU made, with two views of every training photo."""
    from lazarus_pl.cli import main

    folder = tmp_path_factory.mktemp("features") / "cache"
    words = ["extract", "--data", str(leaves), "--out", str(folder), "--device", "cuda"]
    assert main([*words, "--views.count=2", "--views.policy=field"]) == 0
    return folder


def fitted(lazarus: Lazarus, name: str, cache: Path, out: Path, words: Sequence[str] = ()) -> Path:
    done = lazarus(
        *("fit", "-c", shipped_config(name), f"--data.init_args.cache={cache}", QUIET),
        *(f"--trainer.default_root_dir={out}", *words),
    )
    assert done.code == 0, done.err
    return next(out.rglob("best.ckpt"))


# not 16 by name: some Turing cards answer with NaN, and auto leaves it there
@pytest.mark.parametrize("precision", ["auto", "32"])
def test_features_are_those_of_a_cpu(precision: Precision, leaves: Path) -> None:
    paths = sorted(leaves.rglob("*.jpg"))[::6]
    pixels = np.stack([read_pixels(path.read_bytes(), 256) for path in paths])
    on_gpu = TorchEngine(Encoder.from_spec(EncoderSpec()), "cuda", precision)
    exact = TorchEngine(Encoder.from_spec(EncoderSpec()), "cpu", "32").encode(pixels)
    assert on_gpu.precision == precision or precision == "auto"
    assert Agreement.of(exact, on_gpu.encode(pixels)).suffices(on_gpu.precision)


def test_extraction_takes_less_than_its_budget(
    leaves: Path, tmp_path: Path, gpu: torch.device, lazarus: Lazarus
) -> None:
    done = lazarus("extract", "--data", leaves, "--out", tmp_path / "cache", "--device", "cuda")
    assert done.code == 0, done.err
    assert 0 < torch.cuda.max_memory_reserved(gpu) < 2.5 * GB


def test_a_photo_of_twelve_megapixels_takes_less_than_its_budget(
    leaves: Path, tmp_path: Path, gpu: torch.device, lazarus: Lazarus
) -> None:
    for label in ("healthy", "rust"):
        (tmp_path / "large" / label).mkdir(parents=True)
        for number, path in enumerate(sorted((leaves / label).iterdir())[:8]):
            with Image.open(path) as image:
                large = image.resize((4000, 3000))
            large.save(tmp_path / "large" / label / f"{number}.jpg")
    done = lazarus(
        *("extract", "--data", tmp_path / "large", "--out", tmp_path / "cache"),
        *("--windows", "8", "--device", "cuda"),
    )
    assert done.code == 0, done.err
    assert 0 < torch.cuda.max_memory_reserved(gpu) < 3 * GB


@pytest.mark.parametrize("name", ["heads/linear", "heads/attention_views", "patches/patches"])
def test_heads_train_in_mixed_precision_and_answer_alike_on_a_cpu(
    name: str, features: Path, leaves: Path, tmp_path: Path, gpu: torch.device, lazarus: Lazarus
) -> None:
    checkpoint = fitted(lazarus, f"{name}.yaml", features, tmp_path, ["--trainer.max_epochs=6"])
    assert 0 < torch.cuda.max_memory_reserved(gpu) < 3 * GB
    answers = [
        _answers(lazarus, checkpoint, leaves, tmp_path / device, device)
        for device in ("cuda", "cpu")
    ]
    np.testing.assert_allclose(*answers, atol=0.02)
    assert (answers[0].argmax(axis=1) == answers[1].argmax(axis=1)).mean() > 0.99


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "32-true"])
def test_fine_tuning_keeps_within_its_budget(
    precision: str, features: Path, tmp_path: Path, gpu: torch.device, lazarus: Lazarus
) -> None:
    if precision == "bf16-mixed" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("no bfloat16 on this GPU")
    start = fitted(lazarus, "heads/attention.yaml", features, tmp_path / "head")
    begin_anew(gpu)
    best = fitted(
        lazarus,
        "finetune/progressive.yaml",
        features,
        tmp_path / "finetune",
        [
            *(f"--model.init_args.start={start}", "--data.init_args.views=all"),
            *("--trainer.max_epochs=3", "--budget.gpu_memory=400MB"),
            f"--trainer.precision={precision}",
        ],
    )
    assert 0 < torch.cuda.max_memory_reserved(gpu) <= 0.4 * GB
    before, after = (
        torch.load(path, weights_only=True, map_location="cpu")["lazarus"]["scores"]
        for path in (start, best)
    )
    assert after["val/macro_f1"] >= before["val/macro_f1"] - 0.1


def test_maps_are_those_of_a_cpu(
    features: Path, leaves: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    checkpoint = fitted(lazarus, "patches/patches.yaml", features, tmp_path / "fit")
    for device in ("cuda", "cpu"):
        done = lazarus(
            *("explain", "--ckpt", checkpoint, "--data", leaves / "rust"),
            *("--out", tmp_path / device, "--device", device, "--precision", "32"),
        )
        assert done.code == 0, done.err
    for mine in sorted((tmp_path / "cuda" / "maps").iterdir()):
        ours, theirs = np.load(mine), np.load(tmp_path / "cpu" / "maps" / mine.name)
        for kind in ("attention", "evidence", "attribution"):
            # TF32 and other kernels differ in the third digit
            scale = max(1e-6, float(np.abs(theirs[kind]).max()))
            np.testing.assert_allclose(ours[kind] / scale, theirs[kind] / scale, atol=0.05)


@pytest.mark.slow
def test_the_chain_keeps_within_its_budget(leaves: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    out = tmp_path / "run"
    done = lazarus(
        *("run", "--data", leaves, "--out", out, "--budget.gpu_memory=2GB", "--views.count=1"),
        "--gallery=2",
    )
    assert done.code == 0, done.err
    stages = json.loads((out / "summary.json").read_bytes())["stages"]
    peaks = {name: stage["peak_gpu_mb"] for name, stage in stages.items() if stage["peak_gpu_mb"]}
    assert {"extract", "grid", "finetune"} <= peaks.keys()
    assert max(peaks.values()) < 2000


def _answers(
    lazarus: Lazarus, checkpoint: Path, photos: Path, out: Path, device: str
) -> npt.NDArray[np.float64]:
    done = lazarus(
        *("classify", "--ckpt", checkpoint, "--data", photos, "--out", out / "answers.csv"),
        *("--device", device),
    )
    assert done.code == 0, done.err
    with (out / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[name]) for name in CLASSES] for row in rows])
