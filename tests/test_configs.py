"""Config files are test cases."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from lazarus_pl.tasks.load_task import load_task
from tests.conftest import Lazarus

ROOT = Path(__file__).parent.parent
HEADS = sorted(p for room in ("heads", "patches") for p in (ROOT / "configs" / room).glob("*.yaml"))
SHORT = ("--trainer.max_epochs=2", "--trainer.enable_progress_bar=false")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("config", HEADS, ids=lambda path: path.stem)
def test_fit_validate_test_predict(config: Path, cache: Path, lazarus: Lazarus) -> None:
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
        "--trainer.callbacks=callbacks.PredictionsCSV",
        silent,
    )
    assert done.code == 0, done.err
    with Path("predictions.csv").open() as file:
        assert len(list(csv.reader(file))) > 3


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

    best = "lightning_logs/version_{}/checkpoints/best.ckpt"
    before = torch.load(best.format(0), weights_only=True)
    done = lazarus(*words, "--trainer.max_epochs=4", f"--ckpt_path={best.format(0)}")
    assert done.code == 0, done.err
    after = torch.load(best.format(1), weights_only=True)
    assert after["epoch"] > before["epoch"]
    assert after["global_step"] > before["global_step"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.init_args.laerning_rate=1"], "laerning_rate"),
        (["--trainer.max_epocs=3"], "max_epocs"),
        (["--model.init_args.head=mpl"], "did you mean 'mlp'"),
        (["--model.init_args.head_options={hiden: 3}"], "hiden"),
        (["--data.init_args.layers=[grid8]"], "keeps no layer 'grid8'"),
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
    assert not Path("lightning_logs").exists() or not list(Path().rglob("*.ckpt"))


def test_a_missing_cache_is_named_without_the_parsers_account(lazarus: Lazarus) -> None:
    done = lazarus("fit", "-c", ROOT / "configs" / "heads" / "mlp.yaml")
    assert done.code == 2
    assert "arguments are required: cache" in done.err
    for noise in ("Union", "NoneType", "Namespace"):
        assert noise not in done.err


def test_a_checkpoint_of_another_project_is_refused(cache: Path, lazarus: Lazarus) -> None:
    import torch

    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, "other.ckpt")
    config = ROOT / "configs" / "heads" / "mlp.yaml"
    words = ("-c", config, f"--data.init_args.cache={cache}", "--ckpt_path=other.ckpt")
    done = lazarus("validate", *words)
    assert done.code == 2
    assert "not written by lazarus" in done.err


@pytest.mark.slow
def test_two_processes_train_together(cache: Path, tmp_path: Path) -> None:
    config = ROOT / "configs" / "heads" / "attention.yaml"
    command = [sys.executable, "-m", "lazarus_pl", "fit", "-c", str(config)]
    options = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = subprocess.run(
        [*command, f"--data.init_args.cache={cache}", *options, *SHORT],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    task = load_task(tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt")
    assert all(value.isfinite().all() for value in task.state_dict().values())
