"""Full disks and read-only folders: one sentence, nothing lost, and the same command goes on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from lazarus_pl.cli import main
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.pipeline.run.stage_record import StageRecord
from lazarus_pl.shipped_config import shipped_config
from tests.conftest import Lazarus
from tests.pipeline.disk import Disk, on

STAGES = ("extract", "grid", "patches", "finetune", "choose", "refit", "test", "report")
TRIALS = 6
# trainings after the one that is looked at
LATER = {
    "grid": ("--patches.skip", "--finetune.skip", "--refit.skip"),
    "patches": ("--finetune.skip", "--refit.skip"),
    "finetune": ("--refit.skip",),
    "choose": ("--refit.skip",),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """42 photos of 21 leaves in three classes."""
    leaves = dict.fromkeys(("healthy", "late_blight", "rust"), 7)
    drawn = ProceduralLeaves(leaves, photos_per_leaf=(2, 2), size=64, seed=3)
    return drawn.write(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def words(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A short run."""
    folder = tmp_path_factory.mktemp("config")
    heads = {
        name: str(shipped_config(f"heads/{name}.yaml").resolve()) for name in ("linear", "mlp")
    }
    short = {"overrides": {"trainer.max_epochs": 1}}
    (folder / "grid.yaml").write_text(json.dumps({"configs": heads, **short}))
    content = {
        **{"encoder": {"image_size": 64}, "engine": "torch", "audit": {"skip": True}},
        **{"grid": {"config": "grid.yaml"}, "patches": short, "finetune": short},
        **{"views": {"count": 0}, "gallery": 0},
    }
    (folder / "run.yaml").write_text(json.dumps(content))
    return ["run", "-c", str(folder / "run.yaml"), "--data", str(photos)]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run that nothing disturbed, and the bytes that it wrote."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with on(Disk(out)) as disk:
        assert main([*words, "--out", str(out)]) == 0
    return out, disk.written


def summary_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    return content


def done(out: Path) -> dict[str, int]:
    """When each stage that is over was written down: a short training may not be taken."""
    records = {stage: StageRecord.read(out, stage) for stage in STAGES}
    return {
        stage: (out / "stages" / f"{stage}.json").stat().st_mtime_ns
        for stage, record in records.items()
        if record and record.state in ("done", "left out")
    }


@pytest.mark.slow
def test_a_disk_that_fills_up_again_and_again(
    words: list[str], whole: tuple[Path, int], tmp_path: Path, lazarus: Lazarus
) -> None:
    alone, needed = whole
    out = tmp_path / "run"
    command = [*words, "--out", str(out)]
    before: dict[str, int] = {}
    for trial in range(TRIALS):
        with on(Disk(out, room=needed * (0.01 + trial / TRIALS) / 3)):
            end = lazarus(*command)
        if end.code == 0:
            break
        assert end.code == 2, end.err
        assert re.search("No space left on device|is full", end.err)
        assert f"'{out}" in end.err
        assert "free some" in end.err
        assert end.err.count("lazarus: error: ") == 1
        assert "Traceback" not in end.err
        after = done(out)
        assert before.items() <= after.items(), "what was done stays done"
        before = after
    assert trial > 2
    assert before, "some of it was done on the way"
    end = lazarus(*command)
    assert end.code == 0, end.err
    assert before.items() <= done(out).items()
    assert set(done(out)) >= set(STAGES) - {"report"}
    ours, theirs = (
        [(item["stage"], item["val_macro_f1"]) for item in summary_of(folder)["candidates"]]
        for folder in (out, alone)
    )
    assert [item for item in ours if item[0] == "grid"] == [i for i in theirs if i[0] == "grid"]
    assert [stage for stage, _ in ours] == [stage for stage, _ in theirs]
    for name in ("cache/manifest.csv", "cache/jobs/00000.npz"):
        assert (out / name).read_bytes() == (alone / name).read_bytes(), name
    assert not (out / "run.holder.json").exists()


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_disk_that_is_full_late(
    stage: str, words: list[str], whole: tuple[Path, int], tmp_path: Path, lazarus: Lazarus
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole[0], out)
    later = STAGES[STAGES.index(stage) :]
    for name in later:
        (out / "stages" / f"{name}.json").unlink()
        shutil.rmtree(out / name, ignore_errors=True)
    kept = done(out)
    assert set(kept) == set(STAGES) - set(later)
    command = (*words, "--out", out, *LATER.get(stage, ()))
    with on(Disk(out, room=3000)):
        end = lazarus(*command)
    assert end.code == 2
    assert "No space left on device" in end.err
    assert f"'{out}" in end.err
    assert end.err.count("\n") == 1, end.err
    assert kept.items() <= done(out).items()
    end = lazarus(*command)
    assert end.code == 0, end.err
    assert kept.items() <= done(out).items()
    assert stage in done(out) or stage == "report"
    assert summary_of(out)["val_macro_f1"] > 0


def test_a_read_only_folder(
    words: list[str], whole: tuple[Path, int], tmp_path: Path, lazarus: Lazarus
) -> None:
    out = tmp_path / "run"
    with on(Disk(out, read_only=True)):
        fresh = lazarus(*words, "--out", out)
    assert not out.exists()
    shutil.copytree(whole[0], out)
    (out / "stages" / "patches.json").unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with on(Disk(out, read_only=True)):
        begun = lazarus(*words, "--out", out)
    for end in (fresh, begun):
        assert end.code == 2, end.err
        assert str(out) in end.err
        assert "Read-only file system" in end.err
        assert end.err.count("\n") == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert lazarus(*words, "--out", out).code == 0


def test_photos_are_only_read(
    words: list[str], photos: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    with on(Disk(photos, read_only=True)):
        end = lazarus(
            *words,
            "--out",
            tmp_path / "run",
            "--patches.skip",
            "--views.count=0",
            "--finetune.skip",
            "--refit.skip",
        )
    assert end.code == 0, end.err
