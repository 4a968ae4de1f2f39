"""Calibrate and export on the command line: what is written, and what it is worth elsewhere."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lazarus_pl.export.onnx_graph import OnnxGraph
from lazarus_pl.export.resample import Resample
from tests.conftest import Lazarus

ROOT = Path(__file__).parent.parent.parent
BLOCKED = (
    "import sys\nfor name in ('lazarus_pl', 'torch', 'onnx', 'timm'): sys.modules[name] = None\n"
)


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained heads do for this: every layer is read, by every kind of task."""
    from lightning.pytorch import Trainer

    from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
    from lazarus_pl.tasks.classification_task import ClassificationTask
    from lazarus_pl.tasks.finetune_task import FinetuneTask
    from lazarus_pl.tasks.patch_task import PatchTask

    folder, found = tmp_path_factory.mktemp("heads"), {}
    grids = ("grid16", "grid32")
    kinds = {"mlp": ("pooled",), "attention": grids, "patches": grids, "finetuned": ("grid16",)}
    for name, layers in kinds.items():
        data = CachedFeatureDataModule(str(cache), layers=layers)
        known = {
            "class_names": data.class_names,
            "feature_shapes": data.feature_shapes,
            "encoder": data.encoder,
        }
        if name == "finetuned":
            task = FinetuneTask(start=str(found["attention"]), **known)
        else:
            task = (PatchTask if name == "patches" else ClassificationTask)(head=name, **known)
        trainer = Trainer(
            max_epochs=0 if name == "finetuned" else 2,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, datamodule=data)
        found[name] = folder / f"{name}.ckpt"
        trainer.save_checkpoint(found[name])
    return found


@pytest.mark.parametrize("kind", ["mlp", "attention", "patches", "finetuned"])
def test_calibrate_then_export(
    kind: str,
    trained: dict[str, Path],
    cache: Path,
    drawn: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ckpt = trained[kind]
    before = torch.load(ckpt, weights_only=True)
    done = lazarus("calibrate", "--ckpt", ckpt, "--cache", cache, "--coverage", 0.6)
    assert done.code == 0, done.err
    after = torch.load(ckpt, weights_only=True)
    assert after["lazarus"].pop("doubt")["temperature"] > 0
    for name, value in before["state_dict"].items():
        assert torch.equal(value, after["state_dict"][name])
    assert after["lazarus"].keys() == before["lazarus"].keys()

    monkeypatch.chdir(tmp_path)
    done = lazarus("export", "--ckpt", ckpt, "--out", "EXPORT", "--data", drawn, "--photos", 6)
    assert done.code == 0, done.err
    about = json.loads(Path("EXPORT/labels.json").read_text(encoding="utf-8"))
    agreement = about["agreement"]
    assert agreement["same_class"] == agreement["photos"] > 3
    assert agreement["max_probability_difference"] < 2e-3
    if kind != "mlp":
        return
    # of another size than the encoder's
    Image.open(sorted(drawn.rglob("*.jpg"))[0]).resize((100, 90)).save("leaf.jpg")
    assert lazarus("classify", "--ckpt", ckpt, "--data", "leaf.jpg").code == 0
    with Path("predictions.csv").open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    lines = next(block for block in blocks if "onnxruntime" in block)
    alone = subprocess.run(
        [sys.executable, "-c", BLOCKED + lines], capture_output=True, text=True, check=False
    )
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.strip() == row["answer"] != ""


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(64, 64), (40, 200), (90, 301)])
def test_resizing_is_pillows(interpolation: str, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    ours = Resample(64, interpolation)(torch.from_numpy(pixels)[None])[0].numpy()
    way = Image.Resampling[interpolation.upper()]
    theirs = np.asarray(Image.fromarray(pixels).resize((64, 64), way), dtype=np.float32)
    assert np.abs(ours - theirs).max() <= 1
    assert (ours == theirs).mean() > 0.99


def test_mistakes(trained: dict[str, Path], cache: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    ckpt = trained["mlp"]
    done = lazarus("calibrate", "--ckpt", ckpt, "--cache", cache, "--coverage", 1.5)
    assert (done.code, "coverage 1.5" in done.err) == (2, True)
    done = lazarus("export", "--ckpt", ckpt, "--out", ckpt)
    assert (done.code, "is a file" in done.err) == (2, True)
    content = torch.load(ckpt, weights_only=True)
    content["lazarus"]["doubt"] = {"format": 1}
    torch.save(content, tmp_path / "x.ckpt")
    done = lazarus("export", "--ckpt", tmp_path / "x.ckpt", "--out", tmp_path / "e")
    assert (done.code, "run lazarus calibrate again" in done.err) == (2, True)


@pytest.mark.parametrize("wrong", [0.02, float("nan")])
def test_a_photo_on_which_the_graph_differs_is_named(
    wrong: float,
    trained: dict[str, Path],
    drawn: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, calls = OnnxGraph.run, iter(range(9))

    def off(graph: OnnxGraph, photos: np.ndarray) -> dict[str, np.ndarray]:
        said = run(graph, photos)
        return {**said, "probabilities": said["probabilities"] + wrong * (next(calls) == 1)}

    monkeypatch.setattr(OnnxGraph, "run", off)
    words = ("--out", tmp_path / "out", "--data", drawn / "healthy", "--photos", 3)
    done = lazarus("export", "--ckpt", trained["mlp"], *words)
    assert done.code == 2
    assert re.search(
        r"for 'leaf \d{4}\.\d\.jpg' differ from the checkpoint's by (0.02|nan)", done.err
    )
    assert not list((tmp_path / "out").glob("*"))
