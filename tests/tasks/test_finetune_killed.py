"""A fine-tuning process that is killed again and again loses nothing."""

from __future__ import annotations

import json
import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from callbacks.version_files import is_whole
from lazarus_pl.lightning_cli import run_lightning
from lazarus_pl.tasks.load_task import load_task
from tests.forked import begin_lazarus

CONFIGS = Path(__file__).parents[2] / "configs"
KILLS = 2
# seconds in training until a kill
SOONEST, LATEST = 0.2, 2.0
EPOCHS = 12
PATIENCE = 180


@pytest.fixture(scope="module")
def start(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    run_lightning(
        [
            *("fit", f"--config={CONFIGS / 'heads' / 'linear.yaml'}"),
            *(f"--data.init_args.cache={cache}", f"--trainer.default_root_dir={folder}"),
            *("--trainer.max_epochs=3", "--trainer.enable_progress_bar=false"),
        ]
    )
    (best,) = folder.rglob("best.ckpt")
    return best


@pytest.mark.slow
@pytest.mark.usefixtures("forks")
def test_killed_at_random_and_resumed(start: Path, viewed: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    best = -1.0
    kills = 0
    while True:
        process = begin(start, viewed, tmp_path)
        ended = kills == KILLS or not killed(process, tmp_path, rng.uniform(SOONEST, LATEST))
        if ended:
            process.join(PATIENCE)
            assert process.exitcode == 0, (tmp_path / "log").read_text()
        kills += not ended
        for path in tmp_path.rglob("*.ckpt"):
            assert is_whole(path), path
        now = best_score(tmp_path)
        assert now >= best
        best = now
        if ended:
            break
    assert kills, "the training was too short to be hit"
    last = torch.load(last_of(tmp_path), weights_only=True)
    assert last["epoch"] == EPOCHS - 1
    task = load_task(last_of(tmp_path).with_name("best.ckpt"))
    assert all(value.isfinite().all() for value in task.state_dict().values())


def begin(start: Path, cache: Path, folder: Path) -> BaseProcess:
    """The fine-tuning, or what is left of it."""
    last = last_of(folder)
    words = [
        *("fit", f"--config={CONFIGS / 'finetune' / 'progressive.yaml'}"),
        *(f"--data.init_args.cache={cache}", f"--model.init_args.start={start}"),
        # so slow that nothing is rolled back, which could end it
        *("--model.init_args.lr=1e-5", "--budget.micro_batch=12"),
        f"--trainer.max_epochs={EPOCHS}",
        *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
        *([f"--ckpt_path={last}"] if last.is_file() else []),
    ]
    return begin_lazarus(words, folder, folder / "log")


def killed(process: BaseProcess, folder: Path, seconds: float) -> bool:
    """Waits for the training to begin, and kills it a while after; False if it has ended."""
    runs = len(list(folder.rglob("config.yaml")))
    deadline = time.monotonic() + PATIENCE
    while process.exitcode is None and len(list(folder.rglob("config.yaml"))) == runs:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.join(seconds)
    if process.exitcode is not None:
        return False
    process.kill()
    process.join()
    return True


def last_of(folder: Path) -> Path:
    """The latest checkpoint of all runs so far."""
    found = [path for path in folder.rglob("last.ckpt") if is_whole(path)]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=folder / "none.ckpt")


def best_score(folder: Path) -> float:
    """Of the best version that the latest run has."""
    index = last_of(folder).with_name("versions.json")
    if not index.is_file():
        return -1.0
    entries = json.loads(index.read_text(encoding="utf-8"))
    return max(float(entry["metric"]) for entry in entries)
