"""Versions of a fine-tuning from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from lazarus_pl.tasks.read_checkpoint import read_checkpoint
from tests.conftest import Lazarus

ROOT = Path(__file__).parent.parent.parent
HEAD = ROOT / "configs" / "heads" / "linear.yaml"
KEEP = (
    "--trainer.callbacks={class_path: CheckpointVersions, init_args: "
    "{monitor: val/loss, mode: min, keep_best: 2, keep_last: 2}}"
)


@pytest.fixture(scope="module")
def words(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    root = tmp_path_factory.mktemp("versions")
    return (
        *("fit", "-c", str(HEAD), f"--data.init_args.cache={cache}", KEEP),
        *(f"--trainer.default_root_dir={root}", "--trainer.enable_progress_bar=false"),
    )


@pytest.fixture
def run(words: tuple[str, ...], tmp_path: Path, lazarus: Lazarus) -> Path:
    done = lazarus(*words, f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=4")
    assert done.code == 0, done.err
    return tmp_path / "lightning_logs" / "version_0"


def test_list_show_diff_promote(run: Path, words: tuple[str, ...], lazarus: Lazarus) -> None:
    listed = lazarus("checkpoints", "list", run)
    assert listed.code == 0, listed.err
    header, *rows = listed.out.splitlines()
    assert header.split() == ["version", "epoch", "phase", "metric", "parent", "why", "file"]
    entries = json.loads((run / "checkpoints" / "versions.json").read_text())
    assert [int(row.split()[0]) for row in rows] == [entry["version"] for entry in entries]
    shown = lazarus("checkpoints", "show", run / "checkpoints", "--version=4")
    assert "val/macro_f1" in shown.out
    assert "v0004.ckpt" in shown.out
    compared = lazarus("checkpoints", "diff", run, "--version=4", "--against=3")
    lines = compared.out.splitlines()
    assert lines[0] == "version 3 -> 4"
    assert any(line.startswith("weights of head.") for line in lines)
    assert any(line.startswith("epoch: 2 -> 3") for line in lines)
    worst = max(entries, key=lambda entry: float(entry["metric"]))["version"]
    promoted = lazarus("checkpoints", "promote", run, f"--version={worst}")
    assert promoted.code == 0, promoted.err
    folder = run / "checkpoints"
    assert (folder / "best.ckpt").read_bytes() == (folder / f"v{worst:04d}.ckpt").read_bytes()
    marked = [e for e in json.loads((folder / "versions.json").read_text()) if e["promoted"]]
    assert [entry["version"] for entry in marked] == [worst]
    # it stays the best, and stays, when the run goes on
    more = lazarus(
        *(*words, "--trainer.max_epochs=8", f"--ckpt_path={folder / 'last.ckpt'}"),
        f"--trainer.callbacks.init_args.dirpath={folder}",
    )
    assert more.code == 0, more.err
    assert (folder / "best.ckpt").read_bytes() == (folder / f"v{worst:04d}.ckpt").read_bytes()
    assert json.loads((folder / "versions.json").read_text())[-1]["version"] == 8


def test_a_run_that_goes_on_elsewhere_takes_its_history_along(
    run: Path, words: tuple[str, ...], lazarus: Lazarus
) -> None:
    assert lazarus("checkpoints", "promote", run, "--version=3").code == 0
    last = run / "checkpoints" / "last.ckpt"
    root = run.parent.parent
    more = lazarus(
        *(*words, f"--trainer.default_root_dir={root}", "--trainer.max_epochs=6"),
        f"--ckpt_path={last}",
    )
    assert more.code == 0, more.err
    folder = root / "lightning_logs" / "version_1" / "checkpoints"
    entries = json.loads((folder / "versions.json").read_text())
    assert [entry["version"] for entry in entries][-2:] == [5, 6]
    assert [entry["parent"] for entry in entries][-2:] == [4, 5]
    assert (folder / "best.ckpt").read_bytes() == (folder / "v0003.ckpt").read_bytes()
    assert all((folder / entry["file"]).is_file() for entry in entries)


def test_promoting_says_so_where_a_calibration_is_lost(
    run: Path, cache: Path, lazarus: Lazarus
) -> None:
    folder = run / "checkpoints"
    best = folder / "best.ckpt"
    entries = json.loads((folder / "versions.json").read_text())
    lowest = min(entries, key=lambda entry: float(entry["metric"]))["version"]
    other = next(entry["version"] for entry in entries if entry["version"] != lowest)
    calibrated = lazarus("calibrate", "--ckpt", best, "--cache", cache, "--coverage", 0.6)
    assert calibrated.code == 0, calibrated.err
    again = lazarus("checkpoints", "promote", run, f"--version={lowest}")
    assert "not calibrated" not in again.out
    assert "doubt" in read_checkpoint(best)["lazarus"]
    lost = lazarus("checkpoints", "promote", run, f"--version={other}")
    assert f"lazarus calibrate --ckpt '{best}'" in lost.out
    assert best.read_bytes() == (folder / f"v{other:04d}.ckpt").read_bytes()
    assert "calibrated" not in lazarus("checkpoints", "promote", run, f"--version={lowest}").out


def test_a_version_that_is_calibrated_itself_is_taken_as_it_is(
    run: Path, cache: Path, lazarus: Lazarus
) -> None:
    folder = run / "checkpoints"
    best, version = folder / "best.ckpt", folder / "v0004.ckpt"
    assert lazarus("checkpoints", "promote", run, "--version=4").code == 0
    for ckpt, coverage in ((best, 0.6), (version, 0.8)):
        words = ("--ckpt", ckpt, "--cache", cache, "--coverage", coverage)
        assert lazarus("calibrate", *words).code == 0
    assert lazarus("checkpoints", "promote", run, "--version=4").code == 0
    assert read_checkpoint(best)["lazarus"]["doubt"]["coverage"] == 0.8


def test_what_is_promoted_while_a_run_goes_on_stays(
    words: tuple[str, ...], tmp_path: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from callbacks import CheckpointVersions

    save = CheckpointVersions.on_train_epoch_end

    def promote(self: CheckpointVersions, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 2:
            run = tmp_path / "lightning_logs" / "version_0"
            assert lazarus("checkpoints", "promote", run, "--version=1").code == 0
        save(self, trainer, pl_module)

    monkeypatch.setattr(CheckpointVersions, "on_train_epoch_end", promote)
    done = lazarus(*words, f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=6")
    assert done.code == 0, done.err
    folder = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    assert (folder / "best.ckpt").read_bytes() == (folder / "v0001.ckpt").read_bytes()


def test_the_weights_that_changed(run: Path, lazarus: Lazarus) -> None:
    folder = run / "checkpoints"
    content = torch.load(folder / "v0004.ckpt", weights_only=True)
    for name, value in content["state_dict"].items():
        if name.startswith("head."):
            value *= 1.5
    torch.save(content, folder / "v0003.ckpt")
    compared = lazarus("checkpoints", "diff", run, "--version=3", "--against=4")
    assert "weights of head.classifier: changed by 50%" in compared.out
    same = lazarus("checkpoints", "diff", run, "--version=4", "--against=4")
    assert "weights of head.classifier: same" in same.out


def test_statistics_do_not_hide_what_weights_did(run: Path, lazarus: Lazarus) -> None:
    folder = run / "checkpoints"
    content = torch.load(folder / "v0004.ckpt", weights_only=True)
    for version, factor in ((3, 1.0), (4, 1.02)):
        state = {
            "tail.block6.0.conv_pw.weight": factor * torch.ones(8),
            "tail.block6.0.bn1.running_var": torch.full((8,), 2577.0),
            "standardise.grid32.mean": torch.ones(8),
        }
        torch.save({**content, "state_dict": state}, folder / f"v{version:04d}.ckpt")
    compared = lazarus("checkpoints", "diff", run, "--version=4", "--against=3")
    assert "weights of tail.block6: changed by 2%" in compared.out
    assert "standardise" not in compared.out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["list", "nowhere"], "'nowhere' is no folder"),
        (["show", "RUN", "--version=77"], "there is no version 77: there are"),
        (["tidy", "RUN"], "tidy"),
        (["list"], "RUN is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(change: list[str], said: str, run: Path, lazarus: Lazarus) -> None:
    done = lazarus("checkpoints", *(str(run) if word == "RUN" else word for word in change))
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_version_without_parent_and_a_broken_index(run: Path, lazarus: Lazarus) -> None:
    folder = run / "checkpoints"
    entries = json.loads((folder / "versions.json").read_text())
    entries[-1]["parent"] = 77
    (folder / "versions.json").write_text(json.dumps(entries))
    assert "version 3 -> 4" in lazarus("checkpoints", "diff", run).out
    first = entries[0]["version"]
    done = lazarus("checkpoints", "diff", run, f"--version={first}")
    assert done.code == 2
    assert f"version {first} is the first that is kept: name a version" in done.err
    (folder / "versions.json").write_text(json.dumps([{"file": "v0004.ckpt"}]))
    done = lazarus("checkpoints", "list", run)
    assert done.code == 2
    assert "does not say all of each version" in done.err
    (folder / "versions.json").write_text("[1, 2")
    done = lazarus("checkpoints", "list", run)
    assert done.code == 2
    assert "is no list of versions" in done.err


@pytest.mark.parametrize(
    "wrong",
    [{"why": None}, {"version": "9"}, {"file": "../other/v0004.ckpt"}, {"metric": "high"}],
    ids=str,
)
def test_an_index_of_other_types(wrong: dict[str, object], run: Path, lazarus: Lazarus) -> None:
    index = run / "checkpoints" / "versions.json"
    shutil.copytree(run / "checkpoints", run / "other")
    entries = json.loads(index.read_text())
    index.write_text(json.dumps([*entries[:-1], {**entries[-1], **wrong}]))
    done = lazarus("checkpoints", "promote", run)
    assert done.code == 2
    assert "does not say all of each version" in done.err


def test_the_folder_of_a_lazarus_run_will_do(run: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    shutil.copytree(run / "checkpoints", tmp_path / "finetune" / "checkpoints")
    done = lazarus("checkpoints", "list", tmp_path)
    assert done.code == 0, done.err
    assert done.out == lazarus("checkpoints", "list", run).out
