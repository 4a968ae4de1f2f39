from __future__ import annotations

import csv
import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from lazarus_pl.cli import main
from lazarus_pl.data.folder_lock import FolderLock
from lazarus_pl.errors import LazarusError
from lazarus_pl.fit_words import callbacks_of
from lazarus_pl.grid.grid_progress import GridProgress
from lazarus_pl.grid.grid_spec import GridRun, GridSpec
from lazarus_pl.grid.leaderboard import Leaderboard
from lazarus_pl.grid.run_result import RunResult
from lazarus_pl.grid.run_results import RunResults
from lazarus_pl.progress import Progress
from lazarus_pl.shipped_config import shipped_config
from tests.conftest import Lazarus

SMALL = """
configs: {{linear: {heads}/linear.yaml, mlp: {heads}/mlp.yaml}}
axes:
  model.init_args.lr: [1.0e-3, 1.0e-2]
overrides: {{trainer.max_epochs: 2}}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    heads = Path(__file__).parent.parent.parent / "configs" / "heads"
    (tmp_path / "grid.yaml").write_text(SMALL.format(heads=heads))
    return tmp_path / "grid.yaml"


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with grid.yaml and, in run, what it gave."""
    folder = tmp_path_factory.mktemp("finished")
    heads = Path(__file__).parent.parent.parent / "configs" / "heads"
    (folder / "grid.yaml").write_text(SMALL.format(heads=heads))
    words = ["grid", "-c", folder / "grid.yaml", "--cache", cache, "--out", folder / "run"]
    assert main([str(word) for word in words]) == 0
    return folder


def note_failed(results: RunResults, run: GridRun) -> None:
    """As a process does that has tried the run."""
    results.folder(run).mkdir(parents=True)
    results.write_failed(run, "no luck", 1.0)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_shipped_grid_is_nine_runs() -> None:
    runs = list(GridSpec.from_file(shipped_config("grids/heads_3x3.yaml")).runs())
    assert len({run.name for run in runs}) == 9
    assert {run.head for run in runs} == {"linear", "mlp", "attention"}
    assert len({run.overrides["model.init_args.lr"] for run in runs}) == 3


def test_views_are_an_axis(
    viewed: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = list(GridSpec.from_file(shipped_config("grids/views.yaml")).runs())
    assert len({run.name for run in shipped}) == 18
    grid = tmp_path / "grid.yaml"
    mlp = Path(shipped_config("heads/mlp.yaml")).resolve()
    grid.write_text(
        f"configs: {{mlp: {mlp}}}\n"
        "axes: {data.init_args.views: [0, 2]}\noverrides: {trainer.max_epochs: 2}\n"
    )
    cache, out = tmp_path / "cache", tmp_path / "run"
    shutil.copytree(viewed, cache)
    words = ("grid", "-c", grid, "--cache", cache, "--out", out)
    assert lazarus(*words).code == 0
    assert {Path(row["checkpoint"]).parts[1] for row in rows(out)} == {"mlp-views0", "mlp-views2"}
    times = {path: path.stat().st_mtime_ns for path in out.rglob("best.ckpt")}
    assert lazarus(*words).code == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("best.ckpt")} == times
    extract = ("extract", "--data", drawn, "--out", cache, "--encoder.image_size", 64)
    assert lazarus(*extract, "--views.count=5", "--views.policy=field").code == 0
    assert lazarus(*words).code == 0
    runs = [path for path in times if "runs" in path.parts]
    assert all(path.stat().st_mtime_ns != times[path] for path in runs)


@pytest.mark.parametrize("views", ["[0, 4]", "[all]"])
def test_a_grid_of_views_that_are_not_there_is_refused(
    views: str, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    grid, mlp = tmp_path / "grid.yaml", Path(shipped_config("heads/mlp.yaml")).resolve()
    grid.write_text(f"configs: {{mlp: {mlp}}}\naxes: {{data.init_args.views: {views}}}\n")
    done = lazarus("grid", "-c", grid, "--cache", cache, "--out", tmp_path / "run")
    assert done.code == 2
    assert f"the cache '{cache}' has no views" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_grid_of_more_views_than_there_are_is_refused(
    viewed: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    grid, mlp = tmp_path / "grid.yaml", Path(shipped_config("heads/mlp.yaml")).resolve()
    grid.write_text(f"configs: {{mlp: {mlp}}}\naxes: {{data.init_args.views: [0, 1, 99]}}\n")
    done = lazarus("grid", "-c", grid, "--cache", viewed, "--out", tmp_path / "run")
    assert done.code == 2
    assert "of every photo of train, not 99: run lazarus extract" in done.err
    assert not (tmp_path / "run").exists()


def test_a_config_that_another_refers_to_is_part_of_it(
    cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    shipped = yaml.safe_load(shipped_config("heads/linear.yaml").read_text(encoding="utf-8"))
    trainer = {**shipped.pop("trainer"), "max_epochs": 2}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**shipped, "trainer": "trainer.yaml"}))
    (tmp_path / "trainer.yaml").write_text(yaml.safe_dump(trainer))
    (tmp_path / "grid.yaml").write_text("configs: {own: own.yaml}\n")
    words = ("grid", "-c", tmp_path / "grid.yaml", "--cache", cache, "--out", tmp_path / "run")
    for epochs in (2, 3):
        (tmp_path / "trainer.yaml").write_text(yaml.safe_dump({**trainer, "max_epochs": epochs}))
        assert lazarus(*words).code == 0
        assert [row["epochs"] for row in rows(tmp_path / "run")] == [str(epochs)]


def test_a_run_tells_what_it_is_set_to(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("data: {init_args: {views: 2}}\nmodel: 3\n")
    run = GridRun("a", "a", tmp_path / "a.yaml", {"model.init_args.lr": 0.1})
    (tmp_path / "part.yaml").write_text("x: {y: part.yaml}")
    (tmp_path / "b.yaml").write_text("trainer: part.yaml\npolicy: part.yaml\n")
    other = GridRun("b", "b", tmp_path / "b.yaml", {})
    assert (other.value("trainer.x.y"), other.value("policy")) == ("part.yaml", "part.yaml")
    (tmp_path / "c.yaml").write_text("trainer: {callbacks: calls.yaml}")
    (tmp_path / "calls.yaml").write_text("- class_path: KeepLast\n")
    assert callbacks_of(tmp_path / "c.yaml", {}) == [{"class_path": "KeepLast"}]
    keys = ("data.init_args.views", "model.init_args.lr", "model.init_args.x", "data.seed")
    assert [run.value(key) for key in keys] == [2, 0.1, None, None]
    assert GridRun("a", "a", tmp_path / "no.yaml", {}).value("model") is None


def test_where_nothing_can_be_promised_the_reason_is_told(
    finished: Path, cache: Path, lazarus: Lazarus
) -> None:
    """Val has three leaves."""
    done = lazarus(
        "grid", "-c", finished / "grid.yaml", "--cache", cache, "--out", finished / "run"
    )
    assert done.code == 0
    assert "doubt: 0.0% of test are answered" in done.out
    assert "no photo is answered, since val has too few leaves to promise a coverage" in done.out


@pytest.mark.slow
def test_nine_runs_end_to_end(cache: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    out = tmp_path / "run"
    config = shipped_config("grids/heads_3x3.yaml")
    short = ("--overrides", "{trainer.max_epochs: 3}")
    done = lazarus("grid", "-c", config, "--cache", cache, "--out", out, *short)
    assert done.code == 0, done.err
    board = rows(out)
    assert [row["rank"] for row in board] == [str(n) for n in range(1, 10)]
    scores = [float(row["val_macro_f1"]) for row in board]
    assert scores == sorted(scores, reverse=True)
    assert list(board[0])[:9] == [
        *("rank", "head", "lr", "seed", "val_macro_f1", "val_accuracy"),
        *("epochs", "seconds", "checkpoint"),
    ]
    summary = json.loads((out / "summary.json").read_text())
    assert {"test_macro_f1", "test_accuracy", "images", "classes", "quarantined", "seconds"} <= set(
        summary
    )
    assert (summary["images"], summary["classes"], summary["quarantined"]) == (45, 3, 0)
    assert 0 <= summary["test_macro_f1"] <= 1
    winner = torch.load(out / board[0]["checkpoint"], weights_only=True, map_location="cpu")
    best = torch.load(out / "best.ckpt", weights_only=True)
    assert best["lazarus"].pop("doubt")["val"] == summary["doubt"]["val"]
    assert best["lazarus"] == winner["lazarus"]
    for name, value in winner["state_dict"].items():
        assert torch.equal(best["state_dict"][name], value), name
    assert board[0]["head"] in (out / "leaderboard.md").read_text()
    for row in board:
        assert list((out / row["checkpoint"]).parent.parent.glob("events.out.tfevents*"))


def test_a_second_call_repeats_nothing_and_a_lost_run_alone_is_trained_again(
    finished: Path, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished / "run", out)
    words = ("grid", "-c", finished / "grid.yaml", "--cache", cache, "--out", out)
    times = {p: p.stat().st_mtime_ns for p in out.rglob("best.ckpt")}
    first = rows(out)
    assert lazarus(*words).code == 0
    assert {p: p.stat().st_mtime_ns for p in out.rglob("best.ckpt")} == times
    lost = out / first[-1]["checkpoint"]
    shutil.rmtree(lost.parent.parent)
    assert lazarus(*words).code == 0
    changed = {p for p in out.rglob("best.ckpt") if p.stat().st_mtime_ns != times[p]}
    assert changed == {lost}
    same = ("head", "lr", "val_macro_f1")
    assert [[r[k] for k in same] for r in rows(out)] == [[r[k] for k in same] for r in first]


def test_a_run_of_the_grid_equals_lazarus_fit(
    finished: Path, cache: Path, tmp_path: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.tasks.load_task import load_task

    monkeypatch.chdir(tmp_path)
    done = lazarus(
        "fit",
        *("-c", shipped_config("heads/mlp.yaml")),
        f"--data.init_args.cache={cache}",
        *("--model.init_args.lr=0.01", "--trainer.max_epochs=2"),
        "--trainer.enable_progress_bar=false",
    )
    assert done.code == 0, done.err
    ours = load_task(finished / "run" / "runs" / "mlp-lr0.01" / "checkpoints" / "best.ckpt")
    theirs = load_task(Path("lightning_logs/version_0/checkpoints/best.ckpt"))
    for name, value in ours.state_dict().items():
        assert value.equal(theirs.state_dict()[name]), name


def test_a_failing_run_does_not_stop_the_rest(
    small: Path, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    bad = tmp_path / "bad.yaml"
    text = Path(shipped_config("heads/mlp.yaml")).read_text()
    bad.write_text(text.replace("hidden: 512", "hiden: 512"))
    small.write_text(small.read_text().replace("configs: {", f"configs: {{bad: {bad}, "))
    done = lazarus("grid", "-c", small, "--cache", cache, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    board = rows(tmp_path / "run")
    assert len(board) == 6
    assert [row["head"] for row in board[-2:]] == ["bad", "bad"]
    assert "hiden" in board[-1]["error"]
    assert "hiden" in done.err


def test_a_value_that_cannot_be_fails_its_runs_alone(
    small: Path, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    axes = "[1.0e-3, fast]\n  seed_everything: [0]"
    small.write_text(small.read_text().replace("[1.0e-3, 1.0e-2]", axes))
    done = lazarus("grid", "-c", small, "--cache", cache, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    board = rows(tmp_path / "run")
    assert [bool(row["error"]) for row in board] == [False, False, True, True]
    assert "model.init_args.lr: expected a number, got 'fast'" in board[-1]["error"]


def test_when_all_fail_it_says_so(cache: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    grid = tmp_path / "grid.yaml"
    mlp = Path(__file__).parent.parent.parent / "configs" / "heads" / "mlp.yaml"
    grid.write_text(f"configs: {{mlp: {mlp}}}\noverrides: {{model.init_args.head: mpl}}\n")
    done = lazarus("grid", "-c", grid, "--cache", cache, "--out", tmp_path / "run")
    assert done.code == 2
    assert "all 1 runs of the grid failed" in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("configs: {a: nowhere.yaml}\n", "nowhere.yaml"),
        ("config: {}\n", "config"),
        ("configs: {}\n", "no runs"),
    ],
)
def test_bad_grid_files(
    text: str, said: str, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    out = tmp_path / "run"
    done = lazarus("grid", "-c", tmp_path / "grid.yaml", "--cache", cache, "--out", out)
    assert done.code == 2
    assert said in done.err


def test_an_axis_without_values() -> None:
    spec = GridSpec({}, {"model.init_args.lr": []})
    with pytest.raises(LazarusError, match="has no values"):
        list(spec.runs())


def test_the_leaderboard_ranks_by_macro_f1_then_accuracy_and_failed_last(tmp_path: Path) -> None:
    def result(
        name: str, f1: float, accuracy: float, error: str = "", loss: float = math.nan
    ) -> RunResult:
        return RunResult(name, name, 0.1, 0, f1, accuracy, 1, 1.0, "c", "d", error, loss)

    board = Leaderboard(
        [
            result("failed", float("nan"), float("nan"), "why | not"),
            result("low", 0.2, 0.9),
            result("tie", 0.5, 0.6),
            result("unknown", 0.5, 0.7),
            result("unsure", 0.5, 0.7, loss=0.9),
            result("best", 0.5, 0.7, loss=0.4),
        ]
    )
    order = ["best", "unsure", "unknown", "tie", "low", "failed"]
    assert [r.run for r in board.results] == order
    assert board.best is not None
    assert board.best.run == "best"
    board.write(tmp_path)
    assert len(rows(tmp_path)) == 6
    assert RunResult.read(tmp_path) is None
    board.results[0].write(tmp_path)
    assert RunResult.read(tmp_path) == board.results[0]


def _runs(tmp_path: Path, axes: str) -> list[GridRun]:
    config = shipped_config("heads/mlp.yaml").resolve()
    (tmp_path / "grid.yaml").write_text(f"configs: {{mlp: {config}}}\naxes: {axes}\n")
    return list(GridSpec.from_file(tmp_path / "grid.yaml").runs())


def test_values_that_look_alike_have_names_of_their_own(tmp_path: Path) -> None:
    runs = _runs(tmp_path, "{model.init_args.lr: [0.001, 0.0010000001, 1.0e-5]}")
    assert [run.name for run in runs] == ["mlp-lr0.001", "mlp-lr0.0010000001", "mlp-lr1e-05"]


def test_lists_can_be_values_of_an_axis(tmp_path: Path) -> None:
    runs = _runs(tmp_path, "{data.init_args.layers: [[pooled], [grid16, grid32]]}")
    assert [run.name for run in runs] == ["mlp-layerspooled", "mlp-layersgrid16+grid32"]
    assert '--data.init_args.layers=["grid16", "grid32"]' in runs[1].arguments()


def test_keys_with_values_can_be_a_value_of_an_axis(tmp_path: Path) -> None:
    runs = _runs(tmp_path, "{model.init_args.head_options: [{hidden: 8}, {hidden: 4, dropout: 0}]}")
    assert [run.name for run in runs] == [
        *("mlp-head_optionshidden8", "mlp-head_optionshidden4+dropout0"),
    ]
    assert '--model.init_args.head_options={"hidden": 4, "dropout": 0}' in runs[1].arguments()


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    values = ["x" * 300, "x" * 299 + "y"]
    names = [run.name for run in _runs(tmp_path, f"{{model.init_args.head: {values}}}")]
    assert len(set(names)) == 2
    assert all(len(name) <= 64 for name in names)


def test_a_run_twice_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LazarusError, match="run 'mlp-heada_b' twice"):
        _runs(tmp_path, "{model.init_args.head: ['a/b', 'a:b']}")


def test_one_grid_a_folder(
    finished: Path, small: Path, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    out = tmp_path / "run"
    words = ("grid", "-c", small, "--cache", cache, "--out", out)
    with FolderLock(out, "grid"):
        refused = lazarus(*words)
    assert refused.code == 2
    assert f"'{out}' is in use by another lazarus grid (process {os.getpid()} on " in refused.err
    assert not (out / "runs").exists()
    # `lazarus run` holds a lock of its own
    shutil.copytree(finished / "run", out, dirs_exist_ok=True)
    with FolderLock(out, "run"):
        assert lazarus(*words).code == 0


def test_configs_are_utf_8_whatever_the_machine_takes_for_granted(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlp = tmp_path / "mlp.yaml"
    text = shipped_config("heads/mlp.yaml").read_text(encoding="utf-8")
    mlp.write_text(f"# Blätter\n{text}", encoding="utf-8")
    read = Path.read_text

    def read_elsewhere(path: Path, encoding: str = "ascii", errors: str = "strict") -> str:
        return read(path, encoding, errors)

    monkeypatch.setattr(Path, "read_text", read_elsewhere)
    run = GridRun("mlp", "mlp", mlp, {})
    note_failed(RunResults(cache, tmp_path), run)
    assert RunResults(cache, tmp_path).read(run) is not None


def test_what_another_process_did_counts_at_the_next_look(
    small: Path, cache: Path, tmp_path: Path
) -> None:
    runs = list(GridSpec.from_file(small).runs())
    costs = {run.name: 1.0 if run.head == "linear" else 4.0 for run in runs}
    results = RunResults(cache, tmp_path)
    shares: list[float | None] = []
    counts: list[int] = []
    boards: list[int] = []

    class Shown(Progress):
        def advance(
            self, steps: int = 1, note: str | None = None, share: float | None = None
        ) -> None:
            counts.append(steps)
            shares.append(share)

    shown = Shown("training", len(runs), "runs")
    progress = GridProgress(runs, costs, results, shown, lambda: boards.append(len(counts)))
    ours, others = [run for run in runs if run.head == "mlp"], [r for r in runs if r.head != "mlp"]
    tell = progress.of(ours)
    tell("epoch 1 of 2", 0.0)
    tell("epoch 2 of 2", 0.5)
    note_failed(results, others[0])
    tell("epoch 2 of 2", 0.5)
    for run in ours:
        note_failed(results, run)
    progress.look("waiting for a second process")
    progress.look("waiting for a second process")
    note_failed(results, others[1])
    progress.look()
    assert shares == pytest.approx([0.0, 0.4, 0.5, 0.9, 0.9, 1.0])
    assert counts == [0, 0, 1, 2, 0, 1]
    assert boards == [3, 4, 6]
