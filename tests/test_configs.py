"""Config files are test cases."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Trainer

from lazarus_pl import lightning_cli
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.doubt.doubt import Doubt
from lazarus_pl.lightning_cli import LazarusCLI
from lazarus_pl.tasks.load_task import load_task
from lazarus_pl.tasks.read_checkpoint import read_checkpoint
from tests.conftest import Lazarus

ROOT = Path(__file__).parent.parent
HEADS = sorted(p for room in ("heads", "patches") for p in (ROOT / "configs" / room).glob("*.yaml"))
WINDOWS = ROOT / "configs" / "patches" / "windows.yaml"
CACHES = {"windows": "windowed", "attention_views": "viewed"}
POLICIES = sorted((ROOT / "configs" / "views").glob("*.yaml"))
LINEAR = ROOT / "configs" / "heads" / "linear.yaml"
SHORT = ("--trainer.max_epochs=2", "--trainer.enable_progress_bar=false")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("config", HEADS, ids=lambda path: path.stem)
def test_fit_validate_test_predict(
    config: Path, request: pytest.FixtureRequest, lazarus: Lazarus
) -> None:
    cache = request.getfixturevalue(CACHES.get(config.stem, "cache"))
    words = ("-c", config, f"--data.init_args.cache={cache}")
    done = lazarus("fit", *words, *SHORT)
    assert done.code == 0, done.err
    run = Path("lightning_logs") / "version_0"
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert checkpoint.exists()
    assert list(run.glob("events.out.tfevents*"))
    scores = load_task(checkpoint)
    assert scores.class_names == ["healthy", "late_blight", "rust"]
    silent = "--trainer.enable_progress_bar=false"
    for verb in ("validate", "test"):
        again = lazarus(verb, *words, f"--ckpt_path={checkpoint}", silent)
        assert again.code == 0, again.err
        assert f"{'val' if verb == 'validate' else verb}/macro_f1" in again.out
    done = lazarus(
        "predict",
        *words,
        f"--ckpt_path={checkpoint}",
        "--trainer.logger=false",
        silent,
    )
    assert done.code == 0, done.err
    assert "predictions.csv" in done.out
    with Path("predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    of_test = {photo.path: photo.label for photo in Manifest.read(cache).side("test")}
    assert {row["file"] for row in rows} == of_test.keys()
    assert {row["predicted"] for row in rows} <= set(of_test.values())


@pytest.mark.parametrize("asked", [(), ("--trainer.precision=bf16-mixed",)], ids=["", "asked"])
def test_scores_are_those_of_float32_unless_asked_otherwise(
    asked: tuple[str, ...],
    cache: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a processor that trains in bf16
    monkeypatch.setattr(lightning_cli, "best_training_precision", lambda device: "bf16")
    words = ("-c", LINEAR, f"--data.init_args.cache={cache}")
    folder = f"--trainer.default_root_dir={tmp_path}"
    built: list[str] = []
    build = LazarusCLI.instantiate_trainer

    def note(self: LazarusCLI, **named: object) -> Trainer:
        trainer = build(self, **named)
        built.append(str(trainer.precision))
        return trainer

    monkeypatch.setattr(LazarusCLI, "instantiate_trainer", note)
    assert lazarus("fit", *words, *SHORT, folder, *asked).code == 0
    checkpoint = next(tmp_path.rglob("best.ckpt"))
    done = lazarus("test", *words, f"--ckpt_path={checkpoint}", folder, *asked)
    assert done.code == 0, done.err
    assert built == ["bf16-mixed", "bf16-mixed" if asked else "32-true"]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_extract_views_and_fit_on_them(
    policy: Path, cache: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    copy = tmp_path / "cache"
    shutil.copytree(cache, copy)
    words = ("--data", drawn, "--out", copy, "--encoder.image_size", 64)
    done = lazarus("extract", *words, "--views.count=2", f"--views.policy={policy}")
    assert done.code == 0, done.err
    assert f"views of photos of train by the policy '{policy.stem}'" in done.out
    assert "(0 extracted now, " in done.out
    assert len(list(copy.glob("views/*/views.png"))) == 1
    # photos in windows have no views; a policy changes only what the numbers are
    heads = [config for config in HEADS if config != WINDOWS]
    for head in heads if policy == POLICIES[0] else heads[:1]:
        # whole photos can be mixed, patches cannot
        mixup = () if head.stem == "patches" else ("--model.init_args.mixup=0.2",)
        options = ("--data.init_args.views=all", *mixup)
        fitted = lazarus("fit", "-c", head, f"--data.init_args.cache={copy}", *SHORT, *options)
        assert fitted.code == 0, fitted.err


def test_the_saved_config_repeats_the_run(cache: Path, lazarus: Lazarus) -> None:
    config = ROOT / "configs" / "heads" / "mlp.yaml"
    assert lazarus("fit", "-c", config, f"--data.init_args.cache={cache}", *SHORT).code == 0
    done = lazarus("fit", "-c", "lightning_logs/version_0/config.yaml")
    assert done.code == 0, done.err
    first, second = (
        load_task(Path(f"lightning_logs/version_{n}/checkpoints/best.ckpt")) for n in (0, 1)
    )
    for name, value in first.state_dict().items():
        assert value.equal(second.state_dict()[name]), name


def test_resume_through_the_command_line(cache: Path, lazarus: Lazarus) -> None:
    config = ROOT / "configs" / "heads" / "linear.yaml"
    words = ("fit", "-c", config, f"--data.init_args.cache={cache}", SHORT[1])
    assert lazarus(*words, "--trainer.max_epochs=2").code == 0
    import torch

    def read(version: int, name: str) -> dict[str, Any]:
        path = Path(f"lightning_logs/version_{version}/checkpoints/{name}.ckpt")
        content: dict[str, Any] = torch.load(path, weights_only=True)
        return content

    before = read(0, "best")
    last = "--trainer.callbacks+={class_path: ModelCheckpoint, init_args: {filename: last}}"
    done = lazarus(
        *(*words, "--trainer.max_epochs=4", last),
        "--ckpt_path=lightning_logs/version_0/checkpoints/best.ckpt",
    )
    assert done.code == 0, done.err
    after = read(1, "last")
    assert after["epoch"] > before["epoch"]
    assert after["global_step"] > before["global_step"]
    score = "val/macro_f1"
    old, new = (read(version, "best")["lazarus"]["scores"][score] for version in (0, 1))
    assert new >= old


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.init_args.laerning_rate=1"], "laerning_rate"),
        (["--trainer.max_epocs=3"], "max_epocs"),
        (["--model.init_args.head=mpl"], "did you mean 'mlp'"),
        (["--model.init_args.head_options={hiden: 3}"], "hiden"),
        (["--data.init_args.views=2"], "has no views"),
        (["--data.init_args.views=some"], "views"),
        (["--model.init_args.mixup=-1"], "mixup -1"),
        (["--data.init_args.layers=[grid8]"], "no layer 'grid8': there are pooled"),
        (["--model.init_args.lr=abc"], "model.init_args.lr: expected a number, got 'abc'"),
        (["--model.init_args.lr=-1"], "lr -1.0 cannot be: give a number above 0"),
        (["--model.init_args.label_smoothing=3"], "label_smoothing 3.0 cannot be"),
        (["--model.init_args.head_options={dropout: 3}"], "dropout 3 cannot be"),
        (["--model.init_args.head_options={hidden: -3}"], "hidden -3 cannot be"),
        (["--model.init_args.head_options={hidden: wide}"], "hidden 'wide' cannot be"),
        (["--seed_everything=-1"], "seed_everything -1 cannot be"),
        (["--trainer.accelerator=fpga"], "invalid accelerator name"),
        (["--data.init_args.num_workers=-1"], "num_workers -1"),
        (["--trainer.accumulate_grad_batches=0"], "accumulate_grad_batches 0 cannot be"),
        (
            ["--trainer.callbacks={class_path: EarlyStopping, init_args: {monitor: val/f1}}"],
            "no metric 'val/f1' to monitor: there are val/loss, val/accuracy",
        ),
        (
            ["--trainer.callbacks={class_path: ModelCheckpoint, init_args: {monitor: val/f1}}"],
            "no metric 'val/f1' to monitor: there are val/loss, val/accuracy",
        ),
        (["--data.init_args.cache=nowhere"], "'nowhere' is no feature cache"),
        (["--ckpt_path=no.ckpt"], "'no.ckpt' does not exist"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence(
    words: list[str], said: str, cache: Path, lazarus: Lazarus
) -> None:
    config = ROOT / "configs" / "heads" / "mlp.yaml"
    done = lazarus("fit", "-c", config, f"--data.init_args.cache={cache}", *SHORT, *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("lazarus: error:") == 1
    assert "Traceback" not in done.err
    assert len(done.err) < 1500
    if "no metric" not in said:
        assert not list(Path().rglob("*.ckpt"))


def test_a_missing_cache_is_named_without_the_parsers_account(lazarus: Lazarus) -> None:
    done = lazarus("fit", "-c", ROOT / "configs" / "heads" / "mlp.yaml")
    assert done.code == 2
    assert "data.init_args.cache is missing" in done.err
    for noise in ("Union", "NoneType", "Namespace"):
        assert noise not in done.err


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """best.ckpt of a short run of the linear head."""
    from lazarus_pl.cli import main

    folder = tmp_path_factory.mktemp("trained")
    words = ["fit", "-c", str(LINEAR), f"--data.init_args.cache={cache}", *SHORT]
    assert main([*words, f"--trainer.default_root_dir={folder}"]) == 0
    return folder / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt"


def test_scores_of_a_calibrated_checkpoint_show_its_calibrated_error_too(
    trained: Path, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    ckpt = tmp_path / "calibrated.ckpt"
    shutil.copy(trained, ckpt)
    words = ("-c", LINEAR, f"--data.init_args.cache={cache}", f"--ckpt_path={ckpt}", SHORT[1])
    quiet = "--trainer.logger=CSVLogger"
    where = f"--trainer.logger.save_dir={tmp_path}"

    def scores(verb: str, number: int) -> dict[str, float]:
        done = lazarus(verb, *words, quiet, where)
        assert done.code == 0, done.err
        path = tmp_path / "lightning_logs" / f"version_{number}" / "metrics.csv"
        with path.open(encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
        return {name: float(value) for name, value in row.items() if "calibration" in name}

    assert list(scores("validate", 0)) == ["val/calibration_error"]
    assert lazarus("calibrate", "--ckpt", ckpt, "--cache", cache).code == 0
    measured = Doubt.of_checkpoint(ckpt)
    assert measured is not None
    said = scores("validate", 1)
    assert said["val/calibration_error"] == pytest.approx(
        measured.val["calibration_error_before"], abs=0.01
    )
    assert said["val/calibration_error_calibrated"] == pytest.approx(
        measured.val["calibration_error"], abs=0.01
    )
    assert said["val/calibration_error_calibrated"] != said["val/calibration_error"]
    assert "test/calibration_error_calibrated" in scores("test", 2)


def _spoilt(kind: str, trained: Path) -> Path:
    import torch

    path = Path(f"{kind}.ckpt")
    whole = torch.load(trained, weights_only=True)
    if kind == "foreign":
        torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "truncated":
        path.write_bytes(trained.read_bytes()[:-3000])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no checkpoint at all")
    elif kind == "folder":
        path.mkdir()
    elif kind == "weights":
        torch.save({key: whole[key] for key in ("state_dict", "lazarus")}, path)
    elif kind == "incomplete":
        torch.save({**whole, "lazarus": {"format": 1, "arguments": {}}}, path)
    elif kind == "tensors":
        torch.save({**whole, "state_dict": {}}, path)
    return path


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("foreign", "is not a checkpoint of lazarus"),
        ("list", "is not a checkpoint of lazarus"),
        ("truncated", "cannot be read"),
        ("empty", "cannot be read"),
        ("text", "cannot be read"),
        ("folder", "does not exist"),
        ("weights", "lacks pytorch-lightning_version"),
        ("incomplete", "does not say what its head is made of"),
        ("tensors", "the tensor 'head.classifier.bias' of the checkpoint is not that of"),
        ("missing", "'missing.ckpt' does not exist"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused(
    verb: str, kind: str, said: str, trained: Path, cache: Path, lazarus: Lazarus
) -> None:
    path = _spoilt(kind, trained)
    done = lazarus(
        verb,
        *("-c", LINEAR, f"--data.init_args.cache={cache}", f"--ckpt_path={path}"),
        *("--trainer.logger=false", "--trainer.enable_progress_bar=false"),
    )
    assert done.code == 2
    assert said in done.err
    assert done.err.count("lazarus: error: ") == 1
    assert "Traceback" not in done.err


def test_a_checkpoint_named_in_the_config_file_is_checked_too(
    cache: Path, lazarus: Lazarus
) -> None:
    Path("c.yaml").write_text("ckpt_path: gone.ckpt\n")
    done = lazarus("fit", "-c", LINEAR, "-c", "c.yaml", f"--data.init_args.cache={cache}")
    assert done.code == 2
    assert "the checkpoint 'gone.ckpt' does not exist" in done.err


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
@pytest.mark.parametrize("word", [None, "best", "last"])
def test_what_scores_needs_a_checkpoint(
    verb: str, word: str | None, cache: Path, lazarus: Lazarus
) -> None:
    words = (f"--ckpt_path={word}",) if word else ()
    done = lazarus(verb, "-c", LINEAR, f"--data.init_args.cache={cache}", *words)
    assert done.code == 2
    assert "--ckpt_path" in done.err
    assert ("needs a trained head" if word is None else f"'{word}' does not exist") in done.err


def test_a_checkpoint_of_other_layers_is_refused(
    trained: Path, cache: Path, lazarus: Lazarus
) -> None:
    words = ("-c", LINEAR, f"--data.init_args.cache={cache}", f"--ckpt_path={trained}")
    done = lazarus("validate", *words, "--data.init_args.layers=[pooled, grid32]")
    assert done.code == 2
    assert "'standardise.grid32.mean' of the checkpoint" in done.err


@pytest.mark.slow
def test_two_processes_train_together(viewed: Path, tmp_path: Path) -> None:
    config = ROOT / "configs" / "heads" / "attention.yaml"
    command = [sys.executable, "-m", "lazarus_pl", "fit", "-c", str(config)]
    options = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = subprocess.run(
        [
            *command,
            f"--data.init_args.cache={viewed}",
            "--data.init_args.views=4",
            *options,
            *SHORT,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    best = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt"
    task = load_task(best)
    assert all(value.isfinite().all() for value in task.state_dict().values())
    # no photo is repeated for the device that has one less
    val = len(Manifest.read(viewed).side("val"))
    assert val % 2 == 1
    assert np.sum(read_checkpoint(best)["lazarus"]["confusion"]) == val
