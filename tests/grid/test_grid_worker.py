"""A grid that two processes share."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock

from lazarus_pl.grid import grid as grid_module
from lazarus_pl.grid import grid_worker
from lazarus_pl.grid.cut_stacks import cut_stacks
from lazarus_pl.grid.grid_spec import GridRun, GridSpec
from lazarus_pl.grid.grid_worker import GridWorker
from lazarus_pl.grid.run_grid import run_grid
from lazarus_pl.grid.run_results import RunResults
from lazarus_pl.grid.run_trainer import RunTrainer
from tests.forked import Piped
from tests.grid.test_grid import note_failed
from tests.grid.test_stacks import HEADS, scores, write


@pytest.fixture
def small(tmp_path: Path) -> GridSpec:
    text = f"configs: {{{{mlp: {HEADS.as_posix()}/mlp.yaml}}}}\n"
    spec = write(tmp_path, text + "axes: {{model.init_args.lr: [1.0e-3, 1.0e-2, 1.0e-1]}}\n")
    return GridSpec(spec.configs, spec.axes, {"trainer.max_epochs": 2})


@pytest.fixture
def runs(small: GridSpec) -> list[GridRun]:
    return list(small.runs())


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Grids are cut into a part of two runs and one of one, on a machine of three cores."""

    def cut(stacks: Sequence[list[GridRun]], *_: object) -> list[list[GridRun]]:
        ((first, *others),) = stacks
        return [others, [first]]

    monkeypatch.setattr(grid_module, "cut_stacks", cut)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Runs that this process trains together or alone, and on how many cores."""
    noted: list[tuple[int, int]] = []
    together, alone = RunTrainer._train_together, RunTrainer._train

    def train_together(self: RunTrainer, stack: Sequence[Any], tell: Any) -> None:  # noqa: ANN401
        noted.append((len(stack), torch.get_num_threads()))
        together(self, stack, tell)

    def train_alone(self: RunTrainer, run: GridRun) -> None:
        noted.append((1, torch.get_num_threads()))
        alone(self, run)

    monkeypatch.setattr(RunTrainer, "_train_together", train_together)
    monkeypatch.setattr(RunTrainer, "_train", train_alone)
    return noted


class Eager(GridWorker):
    """Is given time to take the first part."""

    def __enter__(self) -> GridWorker:
        super().__enter__()
        while self.is_at_work and not list(self._log.parent.parent.glob("runs/*/config.yaml")):
            time.sleep(0.01)
        return self


class Forked(GridWorker):
    """Starts at once; how the interpreter starts and ends is seen where scores are compared."""

    def _start(self) -> Any:  # noqa: ANN401
        if sys.platform == "win32":
            return super()._start()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        return Piped(grid_worker.work, self._log)


class Idle(GridWorker):
    """Does nothing."""

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)


@pytest.mark.usefixtures("shared")
def test_scores_are_those_of_one_process_with_half_of_the_cores(
    small: GridSpec,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained_here: list[tuple[int, int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(grid_module, "cut_stacks", lambda *_: None)
        torch.set_num_threads(1)
        run_grid(small, cache, tmp_path / "one")
        torch.set_num_threads(3)
    trained_here.clear()
    # what lies in the working folder is executed by nobody
    (tmp_path / "json.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(grid_module, "GridWorker", Eager)
    run_grid(small, cache, tmp_path / "two")
    log = (tmp_path / "two" / "locks" / "worker.log").read_text()
    assert "the second process" not in caplog.text, log
    assert "Fatal" not in log
    assert (2, 1) not in trained_here, "the second process did not take the part of two"
    assert {cores for _, cores in trained_here} <= {1}
    assert len(scores(tmp_path / "two")) == 3
    assert scores(tmp_path / "two") == scores(tmp_path / "one")


@pytest.mark.usefixtures("shared")
def test_what_the_second_process_fails_at_is_told_and_trained_by_the_first_on_as_many_cores(
    small: GridSpec,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained_here: list[tuple[int, int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(grid_worker, "__name__", "no.such.module")
    out = tmp_path / "run"
    with FileLock(_claims(out) / "mlp-lr0.01.lock"):
        run_grid(small, cache, out)
    assert trained_here == [(1, 1), (2, 1)]
    assert [row["error"] for row in scores(out)] == ["", "", ""]
    log = out / "locks" / "worker.log"
    assert f"ended with code 1, its runs are trained here: see '{log}'" in caplog.text
    assert "no.such.module" in log.read_text() or "No module named 'no'" in log.read_text()


@pytest.mark.usefixtures("shared")
def test_where_no_process_can_be_started_this_one_trains_all(
    small: GridSpec,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[dict[str, Any]] = []

    def start(self: GridWorker, *words: object, **options: Any) -> None:  # noqa: ANN401
        asked.append(options)
        raise OSError("out of memory")

    monkeypatch.setattr(grid_worker.subprocess, "Popen", start)
    run_grid(small, cache, tmp_path / "run")
    assert [row["error"] for row in scores(tmp_path / "run")] == ["", "", ""]
    assert "a second process cannot be started, this one trains all: out of memory" in caplog.text
    assert asked[0]["env"]["PYTHONUTF8"] == str(sys.flags.utf8_mode)


@pytest.mark.usefixtures("shared")
def test_a_run_that_failed_in_the_second_process_is_on_the_board_and_not_trained_twice(
    small: GridSpec,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained_here: list[tuple[int, int]],
) -> None:
    out = tmp_path / "run"

    class Failing(Idle):
        def __enter__(self) -> GridWorker:
            note_failed(RunResults(cache, out), runs[1])
            return super().__enter__()

    runs = list(small.runs())
    with monkeypatch.context() as patch:
        patch.setattr(grid_module, "GridWorker", Failing)
        run_grid(small, cache, out)
    assert [row["error"] for row in scores(out)] == ["", "", "no luck"]
    assert trained_here == [(1, 1), (1, 1)]
    # the next call tries it again
    with monkeypatch.context() as patch:
        patch.setattr(grid_module, "cut_stacks", lambda *_: None)
        run_grid(small, cache, out)
    assert trained_here[2:] == [(1, 3)]
    assert [row["error"] for row in scores(out)] == ["", "", ""]


@pytest.mark.usefixtures("forks")
def test_the_second_process_leaves_a_claimed_part_alone_and_ends_well(
    runs: list[GridRun], cache: Path, tmp_path: Path
) -> None:
    with FileLock(_claims(tmp_path) / f"{runs[0].name}.lock"):
        with Forked([runs[:2], runs[2:]], cache, tmp_path, None, 1) as worker:
            process = worker._process
            assert process is not None
        log = (tmp_path / "locks" / "worker.log").read_text()
        assert process.returncode == 0, log
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [runs[2].name]
    assert (tmp_path / "runs" / runs[2].name / "result.json").is_file()


@pytest.fixture
def endless(forks: None, small: GridSpec, cache: Path, tmp_path: Path) -> GridWorker:
    text = Path(small.configs["mlp"]).read_text(encoding="utf-8")
    patient = re.sub(r"patience: \d+", "patience: 1000000", text)
    assert patient != text
    (tmp_path / "mlp.yaml").write_text(patient, encoding="utf-8")
    spec = write(tmp_path, f"configs: {{{{mlp: {(tmp_path / 'mlp.yaml').as_posix()}}}}}\n")
    runs = GridSpec(spec.configs, small.axes, {"trainer.max_epochs": 1_000_000}).runs()
    return Forked([list(runs)], cache, tmp_path, None, 1)


def _at_work(worker: GridWorker, out: Path) -> subprocess.Popen[bytes]:
    """Waits until it trains."""
    while not list(out.glob("runs/*/hparams.yaml")):
        assert worker.is_at_work
        time.sleep(0.05)
    assert worker._process is not None
    return worker._process


def test_the_second_process_does_not_outlive_the_first(endless: GridWorker, tmp_path: Path) -> None:
    with endless:
        process = _at_work(endless, tmp_path)
        assert process.stdin is not None
        # as the system does for a process that was killed
        process.stdin.close()
        assert process.wait(timeout=20) == 1


def test_an_error_here_ends_the_second_process(
    endless: GridWorker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endless.__enter__()
    process = _at_work(endless, tmp_path)
    endless.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert process.returncode is not None
    assert not list(tmp_path.glob("runs/*/result.json"))
    assert not caplog.text


def _claims(out: Path) -> Path:
    (out / "locks").mkdir(parents=True, exist_ok=True)
    return out / "locks"


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
    one_unknown = {name: one for name, one in large.items() if name != "attention1"}
    assert cut_stacks(stacks[1:], one_unknown, 2) is None, "it may need a GPU"
    on_gpu = {name: _built(40, 49152, "cuda") for name in large}
    assert cut_stacks(stacks[1:], on_gpu, 2) is None


def test_runs_that_need_a_trainer_of_their_own_are_shared_too(
    small: GridSpec, cache: Path, tmp_path: Path
) -> None:
    long = {"trainer.max_epochs": 1000, "trainer.accelerator": "cpu", "model.init_args.mixup": 0.2}
    runs = list(GridSpec(small.configs, small.axes, long).runs())
    trainer = RunTrainer(cache, tmp_path)
    stacks = trainer.stacks(runs)
    assert stacks == [[run] for run in runs]
    assert cut_stacks(stacks, trainer.built, 2) == stacks
