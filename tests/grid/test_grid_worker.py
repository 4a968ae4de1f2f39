"""A grid that two processes share."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lazarus_pl.grid import grid as grid_module
from lazarus_pl.grid import grid_worker
from lazarus_pl.grid.cut_stacks import cut_stacks
from lazarus_pl.grid.grid_spec import GridRun, GridSpec
from lazarus_pl.grid.run_grid import run_grid
from tests.grid.test_stacks import HEADS, scores, write


@pytest.fixture
def small(tmp_path: Path) -> GridSpec:
    text = f"configs: {{{{linear: {HEADS.as_posix()}/linear.yaml}}}}\n"
    spec = write(tmp_path, text + "axes: {{model.init_args.lr: [1.0e-3, 1.0e-2, 1.0e-1]}}\n")
    return GridSpec(spec.configs, spec.axes, {"trainer.max_epochs": 2})


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Names of the runs that the second process is left."""
    names = {"linear-lr0.01", "linear-lr0.1"}

    def cut(stacks: Sequence[list[GridRun]], *_: object) -> list[list[GridRun]]:
        ((first, *others),) = stacks
        return [others, [first]]

    @contextmanager
    def claimed(grid: grid_module.Grid, stack: Sequence[GridRun]) -> Iterator[bool]:
        yield stack[0].name not in names

    monkeypatch.setattr(grid_module, "cut_stacks", cut)
    monkeypatch.setattr(grid_module.Grid, "_claimed", claimed)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield names
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def _trained_here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    together = grid_module.Grid._train_together

    def noted(self: grid_module.Grid, stack: Sequence[Any], tell: Any) -> None:  # noqa: ANN401
        sizes.append(len(stack))
        together(self, stack, tell)

    monkeypatch.setattr(grid_module.Grid, "_train_together", noted)
    return sizes


def test_scores_are_those_of_one_process(
    small: GridSpec, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: set[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(grid_module, "cut_stacks", lambda *_: None)
        run_grid(small, cache, tmp_path / "one")
    here = _trained_here(monkeypatch)
    # what lies in the working folder is executed by nobody
    (tmp_path / "json.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    run_grid(small, cache, tmp_path / "two")
    assert here == []
    assert len(scores(tmp_path / "two")) == 3
    assert scores(tmp_path / "two") == scores(tmp_path / "one")


def test_what_the_second_process_fails_at_is_trained_by_the_first(
    small: GridSpec, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: set[str]
) -> None:
    monkeypatch.setattr(grid_worker, "__name__", "no.such.module")
    here = _trained_here(monkeypatch)
    run_grid(small, cache, tmp_path / "run")
    assert here == [len(shared)]
    assert [row["error"] for row in scores(tmp_path / "run")] == ["", "", ""]


def test_the_second_process_does_not_outlive_the_first(
    small: GridSpec, cache: Path, tmp_path: Path
) -> None:
    endless = GridSpec(small.configs, small.axes, {"trainer.max_epochs": 100_000})
    runs = list(endless.runs())
    names = [[run.name for run in runs]]
    worker = grid_worker.GridWorker(runs, names, cache, tmp_path, None, 1)
    with worker:
        process = worker._process
        assert process is not None
        assert process.stdin is not None
        while not list(tmp_path.glob("runs/*/hparams.yaml")):
            assert worker.is_at_work
            time.sleep(0.05)
        # as the system does for a process that was killed
        process.stdin.close()
        assert process.wait(timeout=20) == 1


def _built(epochs: int, values: int, kind: str = "cpu") -> Any:  # noqa: ANN401
    trainer = SimpleNamespace(
        max_epochs=epochs, strategy=SimpleNamespace(root_device=torch.device(kind))
    )
    data = SimpleNamespace(feature_shapes={"any": [values]}, class_counts=[3000, 65])
    return SimpleNamespace(trainer=trainer, datamodule=data)


def test_stacks_are_cut_so_that_two_processes_have_enough() -> None:
    small = {f"mlp{n}": _built(40, 1280) for n in range(6)}
    large = {f"attention{n}": _built(20, 49152) for n in range(3)}
    stacks: Any = [[SimpleNamespace(name=name) for name in names] for names in (small, large)]
    parts = cut_stacks(stacks, {**small, **large}, 2)
    assert parts is not None
    assert [[run.name for run in part] for part in parts] == [[name] for name in large] + [
        list(small)
    ]
    assert cut_stacks(stacks, {**small, **large}, 1) is None
    assert cut_stacks(stacks[:1], small, 2) is None, "it would start longer than it works"
    on_gpu = {name: _built(40, 49152, "cuda") for name in large}
    assert cut_stacks(stacks[1:], on_gpu, 2) is None
