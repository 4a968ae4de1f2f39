"""Runs that are trained together come out as they would have alone."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.strategies import SingleDeviceStrategy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lazarus_pl.errors import LazarusError
from lazarus_pl.grid import run_trainer
from lazarus_pl.grid.built_run import BuiltRun
from lazarus_pl.grid.grid_spec import GridSpec
from lazarus_pl.grid.run_grid import run_grid
from lazarus_pl.grid.stack_key import stack_key
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.stacked_run import StackedRun
from lazarus_pl.tasks.stacked_task import StackedTask
from tests.conftest import Lazarus

HEADS = Path(__file__).parent.parent.parent / "configs" / "heads"


def write(folder: Path, text: str) -> GridSpec:
    (folder / "grid.yaml").write_text(text.format(heads=HEADS.as_posix()))
    return GridSpec.from_file(folder / "grid.yaml")


@pytest.fixture
def small(tmp_path: Path) -> GridSpec:
    """Heads that draw random numbers and one that does not; some runs stop early."""
    text = """
configs: {{linear: {heads}/linear.yaml, mlp: {heads}/mlp.yaml, attention: {heads}/attention.yaml}}
axes:
  model.init_args.lr: [1.0e-3, 3.0e-2]
overrides:
  trainer.max_epochs: 5
  data.init_args.batch_size: 8
  model.init_args.class_weights: balanced
"""
    spec = write(tmp_path, text)
    for path in spec.configs.values():
        config = yaml.safe_load(Path(path).read_text())
        for callback in config["trainer"]["callbacks"]:
            if callback["class_path"] == "EarlyStopping":
                callback["init_args"]["patience"] = 2
        (tmp_path / Path(path).name).write_text(yaml.safe_dump(config))
    return write(tmp_path, text.replace("{heads}", tmp_path.as_posix()))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each trainer trained together."""
    sizes: list[int] = []
    build = StackedTask.__init__

    def counted(
        self: StackedTask, runs: Sequence[StackedRun], tell: Callable[[StackedRun], None]
    ) -> None:
        sizes.append(len(runs))
        build(self, runs, tell)

    monkeypatch.setattr(StackedTask, "__init__", counted)
    return sizes


def alone(monkeypatch: pytest.MonkeyPatch, spec: GridSpec, cache: Path, out: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_trainer, "stack_key", lambda run: None)
        run_grid(spec, cache, out)


def scores(out: Path) -> list[dict[str, str]]:
    with (out / "leaderboard.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def assert_same(one: object, other: object, where: str = "") -> None:
    """Equal to the last bit, but for the folders that files lie in."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert sorted(map(str, one)) == sorted(map(str, other)), where
        for (key, mine), (_, theirs) in zip(
            sorted(one.items(), key=str), sorted(other.items(), key=str), strict=True
        ):
            assert_same(mine, theirs, f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, theirs, f"{where}/{place}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, float) and np.isnan(one):
        assert np.isnan(other), where
    else:
        assert one == other, where


def test_checkpoints_scores_and_curves_are_those_of_runs_alone(
    small: GridSpec,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fits: list[int],
) -> None:
    # of one name, since checkpoints know where they lie
    here, there = tmp_path / "run", tmp_path / "alone"
    alone(monkeypatch, small, cache, here)
    assert fits == []
    here.rename(there)
    run_grid(small, cache, here)
    assert fits == [4, 2]
    assert scores(here) == scores(there)
    epochs = {row["epochs"] for row in scores(here)}
    assert len(epochs) > 1, "no run stopped before the others"
    for run in small.runs():
        mine, theirs = here / "runs" / run.name, there / "runs" / run.name
        assert sorted(p.name for p in mine.iterdir() if "events" not in p.name) == sorted(
            p.name for p in theirs.iterdir() if "events" not in p.name
        )
        assert (mine / "hparams.yaml").read_text() == (theirs / "hparams.yaml").read_text()
        checkpoints = [
            torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
            for folder in (mine, theirs)
        ]
        assert_same(*checkpoints)
        assert scalars(mine) == scalars(theirs)


def test_heads_of_one_trainer_go_together_and_other_seeds_apart(
    tmp_path: Path, cache: Path, fits: list[int]
) -> None:
    text = "configs: {{linear: {heads}/linear.yaml, mlp: {heads}/mlp.yaml}}\n"
    spec = write(tmp_path, text + "axes: {{seed_everything: [0, 1]}}\n")
    out = tmp_path / "run"
    run_grid(GridSpec(spec.configs, spec.axes, {"trainer.max_epochs": 1}), cache, out)
    assert fits == [2, 2]
    for run in ("linear-seed0", "linear-seed1", "mlp-seed0", "mlp-seed1"):
        events = EventAccumulator(str(out / "runs" / run))
        events.Reload()
        content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        row = HParamsPluginData.FromString(content).session_start_info.hparams
        assert row["seed"].number_value == int(run[-1])


def test_the_shipped_grid_is_nine_runs_in_two_passes(cache: Path, tmp_path: Path) -> None:
    keys = []
    for run in GridSpec.from_file(shipped_config("grids/heads_3x3.yaml")).runs():
        where = (f"--data.init_args.cache={cache}", f"--trainer.default_root_dir={tmp_path}")
        keys.append(stack_key(BuiltRun([*run.arguments(), *where])))
    assert None not in keys
    assert len(keys) == 9
    assert len(set(keys)) == 2


class OwnStopping(EarlyStopping):
    """May do anything."""


def keeping(filename: str = "best", more: str = "") -> str:
    """Callbacks that are one checkpoint and nothing else."""
    given = f"monitor: val/macro_f1, mode: max, filename: '{filename}'{more}"
    return f"--trainer.callbacks=[{{class_path: ModelCheckpoint, init_args: {{{given}}}}}]"


@pytest.mark.parametrize(
    "argument",
    [
        "--model.init_args.mixup=0.2",
        "--trainer.gradient_clip_val=1",
        "--trainer.accumulate_grad_batches=2",
        "--trainer.check_val_every_n_epoch=2",
        "--trainer.min_epochs=3",
        "--trainer.max_time=00:01:00:00",
        "--trainer.limit_val_batches=0",
        "--trainer.callbacks+=GradientMonitor",
        "--trainer.callbacks+=LearningRateMonitor",
        "--trainer.callbacks+={class_path: tests.grid.test_stacks.OwnStopping, "
        "init_args: {monitor: val/loss}}",
        "--trainer.callbacks+={class_path: EarlyStopping, init_args: {monitor: train/loss}}",
        keeping(more=", every_n_epochs: 2"),
        keeping(more=", save_last: true"),
        keeping(more=", save_top_k: 2"),
        keeping("best-{epoch}"),
        keeping("best/of/all"),
        "--trainer.callbacks=[{class_path: ModelCheckpoint}]",
        "--budget.micro_batch=4",
        "--trainer.logger=false",
        "--optimizer=torch.optim.SGD",
        "--ckpt_path=CKPT",
    ],
)
def test_a_run_that_needs_a_trainer_of_its_own_gets_one(
    argument: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAZARUS_CLASSES", "tests")
    (tmp_path / "any.ckpt").touch()
    monkeypatch.setattr(BuiltRun, "after_instantiate_classes", lambda self: None)
    word = argument.replace("CKPT", str(tmp_path / "any.ckpt"))
    assert key_of(cache, tmp_path, word) is None


def test_runs_of_one_seed_and_batch_go_together(cache: Path, tmp_path: Path) -> None:
    plain = key_of(cache, tmp_path)
    assert plain is not None
    assert plain == key_of(cache, tmp_path, "--model.init_args.lr=0.1")
    assert plain != key_of(cache, tmp_path, "--data.init_args.batch_size=4")
    assert plain != key_of(cache, tmp_path, "--seed_everything=1")


def key_of(cache: Path, folder: Path, *words: str) -> str | None:
    """That of an MLP's run with other words."""
    plain = ["fit", f"--config={HEADS / 'mlp.yaml'}", f"--data.init_args.cache={cache}"]
    return stack_key(BuiltRun([*plain, f"--trainer.default_root_dir={folder}", *words]))


@pytest.mark.parametrize("device", ["cuda:0", "cpu"])
def test_runs_go_together_under_one_cap(
    device: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        *("fit", f"--config={HEADS / 'mlp.yaml'}", f"--data.init_args.cache={cache}"),
        f"--trainer.default_root_dir={tmp_path}",
    ]
    capped = [*words, "--budget.gpu_memory=4GB"]
    monkeypatch.setattr(SingleDeviceStrategy, "root_device", torch.device(device))
    key = stack_key(BuiltRun(capped))
    assert key is not None
    assert key == stack_key(BuiltRun([*capped, "--model.init_args.lr=0.1"]))
    assert key != stack_key(BuiltRun(words))
    assert stack_key(BuiltRun([*capped, "--budget.micro_batch=4"])) is None


def test_a_stack_is_capped_and_what_does_not_fit_is_trained_alone(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, fits: list[int]
) -> None:
    caps: list[int] = []

    def short(self: StackedTask, batch: object, batch_idx: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(run_trainer, "cap_gpu_memory", caps.append)
    monkeypatch.setattr(run_trainer, "stack_key", lambda run: "all")
    monkeypatch.setattr(StackedTask, "training_step", short)
    text = "configs: {{mlp: {heads}/mlp.yaml}}\naxes: {{model.init_args.lr: [0.1, 0.2]}}\n"
    spec = write(tmp_path, text + "overrides: {{trainer.max_epochs: 1}}\n")
    run_grid(spec, cache, tmp_path / "run", gpu_memory="1GB")
    assert caps == [10**9]
    assert fits == [2]
    assert len(scores(tmp_path / "run")) == 2
    assert {row["error"] for row in scores(tmp_path / "run")} == {""}


def test_checkpoints_without_early_stopping_go_together_too(cache: Path, tmp_path: Path) -> None:
    words = [
        *("fit", f"--config={HEADS / 'mlp.yaml'}", f"--data.init_args.cache={cache}"),
        *(f"--trainer.default_root_dir={tmp_path}", keeping()),
    ]
    assert stack_key(BuiltRun(words)) is not None


def test_what_is_done_when_others_are_interrupted_stays_done(
    small: GridSpec, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    heads = {name: path for name, path in small.configs.items() if name != "attention"}
    small = GridSpec(heads, small.axes, small.overrides)
    step = StackedTask.training_step

    def interrupted(self: StackedTask, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if any(run.stopped for run in self.runs):
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(StackedTask, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_grid(small, cache, out)
    done = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("runs/*/result.json")}
    assert 0 < len(done) < 4
    run_grid(small, cache, out)
    again = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("runs/*/result.json")}
    assert len(again) == 4
    assert {name: again[name] for name in done} == done


def test_runs_that_fail_together_are_trained_alone(
    tmp_path: Path, cache: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: StackedTask, batch: object, batch_idx: int) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(StackedTask, "training_step", broken)
    write(
        tmp_path, "configs: {{mlp: {heads}/mlp.yaml}}\naxes: {{model.init_args.lr: [0.1, 0.2]}}\n"
    )
    with (tmp_path / "grid.yaml").open("a") as file:
        file.write("overrides: {trainer.max_epochs: 1}\n")
    words = ("grid", "-c", tmp_path / "grid.yaml", "--cache", cache, "--out", tmp_path / "run")
    done = lazarus(*words)
    assert done.code == 0, done.err
    assert "2 runs could not be trained together: out of luck" in done.err
    assert [row["error"] for row in scores(tmp_path / "run")] == ["", ""]


def test_scores_of_the_sanity_check_are_nobodys(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, fits: list[int]
) -> None:
    """A training that ends before val is scored fails together as it fails alone."""
    spec = write(
        tmp_path,
        "configs: {{linear: {heads}/linear.yaml, mlp: {heads}/mlp.yaml}}\n"
        "overrides: {{trainer.max_steps: 2, data.init_args.batch_size: 4, seed_everything: 3}}\n",
    )
    with pytest.raises(LazarusError, match="all 2 runs of the grid failed"):
        run_grid(spec, cache, tmp_path / "out")
    assert fits == [2]
    assert "val is not scored before training ends" in caplog.text
    assert {row["lr"] for row in scores(tmp_path / "out")} == {"0.003", "0.001"}
    assert {row["seed"] for row in scores(tmp_path / "out")} == {"3"}
