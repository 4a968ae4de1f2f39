from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, Trainer

from callbacks import (
    CheckpointVersions,
    MetricRollback,
    Phase,
    ProgressiveUnfreezing,
)
from tests.callbacks.tiny import Scripted, data, same, trainer
from tests.callbacks.tiny import fit as plain_fit

NAN = float("nan")


def fit(folder: Path, scores: list[float], *more: Any, **options: Any) -> Trainer:
    model = options.pop("model", None) or Scripted(scores)
    return plain_fit(
        folder, len(scores), *more, model=model, **{"enable_checkpointing": True, **options}
    )


def index(folder: Path) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((folder / "versions.json").read_text())
    return content


def epoch(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["epoch"])


def _inside_data(path: Path) -> int:
    """Where the largest member of a zip has its bytes; between members a flip harms nothing."""
    with zipfile.ZipFile(path) as archive:
        member = max(archive.infolist(), key=lambda info: info.file_size)
    return member.header_offset + 30 + len(member.filename) + member.file_size // 2


def test_best_and_last_and_their_entries(tmp_path: Path) -> None:
    versions = CheckpointVersions("score", dirpath=tmp_path, data_digest="abc")
    fit(tmp_path, [3.0, 1.0, 2.0, 2.5], versions)
    assert [(e["version"], e["parent"], e["why"]) for e in index(tmp_path)] == [
        (2, 1, ["best"]),
        (4, 3, ["last"]),
    ]
    entry = index(tmp_path)[0]
    assert (entry["epoch"], entry["global_step"], entry["metric"]) == (1, 8, 1.0)
    assert (entry["phase"], entry["data_digest"], entry["monitor"]) == (None, "abc", "score")
    assert len(entry["config_digest"]) == 64
    assert len(entry["git_commit"]) == 40
    assert entry["time"].endswith("+00:00")
    assert (epoch(tmp_path / "best.ckpt"), epoch(tmp_path / "last.ckpt")) == (1, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("best.ckpt", "last.ckpt", "v0002.ckpt", "v0004.ckpt", "versions.json"),
    ]


def test_retention(tmp_path: Path) -> None:
    versions = CheckpointVersions("score", "max", keep_best=2, keep_last=2, dirpath=tmp_path)
    fit(tmp_path, [1.0, 4.0, 3.0, 2.0, 1.0], versions)
    assert [(e["version"], e["why"]) for e in index(tmp_path)] == [
        *((2, ["best"]), (3, ["best"]), (4, ["last"]), (5, ["last"])),
    ]
    assert epoch(tmp_path / "best.ckpt") == 1


def test_a_metric_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    fit(tmp_path, [NAN, 2.0, NAN], CheckpointVersions("score", dirpath=tmp_path))
    assert epoch(tmp_path / "best.ckpt") == 1
    assert [e["metric"] for e in index(tmp_path)] == [2.0, None]


def test_without_a_metric_the_best_is_the_last(tmp_path: Path) -> None:
    fit(tmp_path, [1.0, 2.0], CheckpointVersions(dirpath=tmp_path))
    assert epoch(tmp_path / "best.ckpt") == epoch(tmp_path / "last.ckpt") == 1


def test_the_last_version_of_each_phase(tmp_path: Path) -> None:
    unfreezing = ProgressiveUnfreezing([Phase(0, ("head",)), Phase(2, ("body",))])
    versions = CheckpointVersions("score", dirpath=tmp_path)
    fit(tmp_path, [4.0, 5.0, 3.0, 6.0], unfreezing, versions)
    assert [(e["version"], e["phase"], e["why"]) for e in index(tmp_path)] == [
        (2, 0, ["phase"]),
        (3, 1, ["best"]),
        (4, 1, ["last", "phase"]),
    ]


def test_the_parent_after_a_rollback_is_the_state_that_came_back(tmp_path: Path) -> None:
    versions = CheckpointVersions("score", keep_last=9, dirpath=tmp_path)
    fit(tmp_path, [2.0, 1.0, 5.0, 0.5], MetricRollback("score"), versions)
    assert [(e["version"], e["parent"]) for e in index(tmp_path)] == [
        *((1, None), (2, 1), (3, 2), (4, 2)),
    ]


def test_a_resumed_run_continues_numbers_and_parents(tmp_path: Path) -> None:
    def versions() -> CheckpointVersions:
        return CheckpointVersions("score", keep_last=9, dirpath=tmp_path)

    fit(tmp_path, [3.0, 2.0, 4.0], versions())
    fit(tmp_path, [3.0, 1.0, 4.0, 5.0], versions(), ckpt_path=tmp_path / "v0002.ckpt")
    assert [(e["version"], e["parent"], e["epoch"]) for e in index(tmp_path)] == [
        *((1, None, 0), (2, 1, 1), (3, 2, 2), (4, 2, 2), (5, 4, 3)),
    ]


@pytest.mark.parametrize(
    ("options", "metrics"),
    [
        ({"check_val_every_n_epoch": 2}, [None, 0.0, None, 1.0]),
        # after 6 and 12 of 16 steps
        ({"check_val_every_n_epoch": None, "val_check_interval": 6}, [None, None, 1.0, None]),
        ({"val_check_interval": 3}, [None, None, None, None]),
        ({"max_steps": 6}, [0.0, None]),
    ],
)
def test_a_version_has_no_metric_of_other_weights(
    options: dict[str, Any], metrics: list[float | None], tmp_path: Path
) -> None:
    versions = CheckpointVersions("score", keep_last=9, dirpath=tmp_path)
    fit(tmp_path, [0.0, 1.0, 2.0, 3.0], versions, **options)
    assert [e["metric"] for e in index(tmp_path)] == metrics


def test_scores_that_no_version_can_have_are_warned_of_once(tmp_path: Path) -> None:
    versions = CheckpointVersions("score", dirpath=tmp_path)
    with pytest.warns(UserWarning, match=r"no version has a 'score' yet") as warned:
        fit(tmp_path, [0.0, 1.0, 2.0], versions, val_check_interval=3)
    assert sum("no version has" in str(each.message) for each in warned) == 1


@pytest.mark.parametrize(
    ("scores", "options"),
    [([0.0, 1.0, 2.0], {"check_val_every_n_epoch": 2}), ([NAN, NAN], {})],
    ids=["every second", "not finite"],
)
def test_validations_at_the_ends_of_epochs_are_not_warned_of(
    scores: list[float], options: dict[str, int], tmp_path: Path
) -> None:
    versions = CheckpointVersions("score", dirpath=tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "no version has")
        fit(tmp_path, scores, versions, **options)


def test_a_run_without_validation_is_warned_of_once(tmp_path: Path) -> None:
    versions = CheckpointVersions("score", dirpath=tmp_path)
    with pytest.warns(UserWarning, match=r"'score' yet, since there is no validation") as warned:
        fit(tmp_path, [0.0, 1.0], versions, limit_val_batches=0)
    assert sum("no version has" in str(each.message) for each in warned) == 1
    assert (tmp_path / "best.ckpt").is_file()


def test_a_metric_that_training_logs_now_and_then_makes_the_best(tmp_path: Path) -> None:
    class Logs(Scripted):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            if self.current_epoch % 2:
                self.log("own", float(self.current_epoch), on_epoch=True)
            return super().training_step(batch, batch_idx)

    versions = CheckpointVersions("own", keep_best=1, keep_last=1, dirpath=tmp_path)
    scores = [0.0] * 4
    fit(tmp_path, scores, versions, model=Logs(scores), limit_val_batches=0)
    assert 1.0 in [entry["metric"] for entry in index(tmp_path)]


@pytest.mark.parametrize(
    "options",
    [{"check_val_every_n_epoch": 2}, {"val_check_interval": 3}, {"limit_val_batches": 0}],
)
def test_the_metric_may_be_one_of_training(options: dict[str, Any], tmp_path: Path) -> None:
    class Logs(Scripted):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

    versions = CheckpointVersions("train_loss", keep_last=9, dirpath=tmp_path)
    scores = [1.0, 2.0, 3.0, 4.0]
    fit(tmp_path, scores, versions, model=Logs(scores), **options)
    found = [entry["metric"] for entry in index(tmp_path)]
    assert len(found) == 4
    assert found == sorted(found, reverse=True)


def test_a_parent_that_a_rollback_made_is_known_after_a_resume(tmp_path: Path) -> None:
    def callbacks() -> list[Any]:
        versions = CheckpointVersions("score", keep_last=9, dirpath=tmp_path)
        return [MetricRollback("score", dirpath=tmp_path), versions]

    scores = [2.0, 1.0, 5.0, 0.5]

    class Stops(Scripted):
        """In the epoch after the rollback, with a checkpoint of its own."""

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.current_epoch == 3 and batch_idx == 2:
                self.trainer.save_checkpoint(tmp_path / "middle.ckpt")

    fit(tmp_path, scores, *callbacks(), model=Stops(scores))
    whole = [(e["version"], e["parent"]) for e in index(tmp_path)]
    fit(tmp_path, scores, *callbacks(), ckpt_path=tmp_path / "middle.ckpt")
    again = [(e["version"], e["parent"]) for e in index(tmp_path)]
    assert again == [*whole, (5, 2)]
    assert whole[-1] == (4, 2)


def test_a_run_that_is_continued_without_rollbacks_has_its_parent(tmp_path: Path) -> None:
    scores = [1.0, 5.0, 0.5, 0.4]
    rollback = MetricRollback("score", dirpath=tmp_path)
    versions = CheckpointVersions("score", keep_last=9, dirpath=tmp_path)
    fit(tmp_path, scores[:3], rollback, versions)
    assert rollback.rollbacks == 1
    again = CheckpointVersions("score", keep_last=9, dirpath=tmp_path)
    fit(tmp_path, scores, again, ckpt_path=tmp_path / "v0003.ckpt")
    assert [(e["version"], e["parent"]) for e in index(tmp_path)][-1] == (4, 3)


def test_lightning_finds_the_best(tmp_path: Path) -> None:
    run = fit(tmp_path, [1.0, 2.0], CheckpointVersions("score", dirpath=tmp_path))
    model = Scripted([0.0])
    run.validate(model, data(2), ckpt_path="best", verbose=False)
    best = torch.load(tmp_path / "v0001.ckpt", weights_only=True)
    assert same(dict(model.state_dict()), dict(best["state_dict"]))


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "flipped"])
def test_a_damaged_file_takes_no_place(
    cut: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Trainer.save_checkpoint

    def damaged(self: Trainer, path: Path, *rest: Any) -> None:
        save(self, path, *rest)
        if self.current_epoch == 1:
            content = bytearray(path.read_bytes())
            half = len(content) // 2
            content[_inside_data(path)] ^= 255
            path.write_bytes(content[:half] if cut else content)

    monkeypatch.setattr(Trainer, "save_checkpoint", damaged)
    with pytest.warns(UserWarning, match="damaged on the way"):
        fit(tmp_path, [2.0, 1.0, 1.5], CheckpointVersions("score", dirpath=tmp_path))
    assert [(e["version"], e["parent"], e["epoch"]) for e in index(tmp_path)] == [(2, 1, 2)]
    assert epoch(tmp_path / "best.ckpt") == 2
    assert not list(tmp_path.glob("*.tmp"))


def test_a_disk_that_fails_leaves_the_old_files_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Trainer.save_checkpoint

    def full(self: Trainer, path: Path, *rest: Any) -> None:
        if self.current_epoch == 1:
            path.write_bytes(b"PK half a file")
            raise OSError("No space left on device")
        save(self, path, *rest)

    monkeypatch.setattr(Trainer, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space"):
        fit(tmp_path, [2.0, 1.0], CheckpointVersions("score", dirpath=tmp_path))
    assert epoch(tmp_path / "best.ckpt") == epoch(tmp_path / "last.ckpt") == 0
    assert len(index(tmp_path)) == 1


def test_where_hard_links_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", none)
    fit(tmp_path, [1.0, 2.0], CheckpointVersions("score", dirpath=tmp_path))
    assert (epoch(tmp_path / "best.ckpt"), epoch(tmp_path / "last.ckpt")) == (0, 1)


def test_digests_tell_configurations_and_data_apart(tmp_path: Path) -> None:
    class Configured(Scripted):
        def __init__(self, width: int) -> None:
            super().__init__([1.0])
            self.save_hyperparameters()

    class Data(LightningDataModule):
        data_digest = "photos"

        def train_dataloader(self) -> Any:
            return data(1)

        def val_dataloader(self) -> Any:
            return data(2)

    found = []
    for width in (1, 1, 2):
        versions = CheckpointVersions("score", dirpath=tmp_path / str(len(found)))
        run = trainer(tmp_path, 1, [versions], enable_checkpointing=True)
        run.fit(Configured(width), datamodule=Data())
        found.append(versions.entries[-1])
    digests = [entry["config_digest"] for entry in found]
    assert digests[0] == digests[1] != digests[2]
    assert found[0]["data_digest"] == "photos"


def test_state_round_trip() -> None:
    one, two = CheckpointVersions(), CheckpointVersions()
    one.load_state_dict({"version": 7, "rollbacks": 2})
    two.load_state_dict(one.state_dict())
    assert two.state_dict() == {"version": 7, "rollbacks": 2}
    # written by a version that did not know them
    two.load_state_dict({"version": 7})
    assert two.state_dict() == {"version": 7, "rollbacks": None}


def test_an_index_that_names_a_file_elsewhere_deletes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    fit(tmp_path, [1.0, 2.0], CheckpointVersions("score", dirpath=folder))
    elsewhere = tmp_path / "mine.ckpt"
    elsewhere.write_bytes(b"mine")
    index = folder / "versions.json"
    entries = json.loads(index.read_text())
    index.write_text(json.dumps([{**entries[0], "file": "../mine.ckpt"}, *entries[1:]]))
    with pytest.raises(MisconfigurationException, match="does not say all of each version"):
        fit(tmp_path, [1.0, 2.0, 3.0], CheckpointVersions("score", dirpath=folder))
    assert elsewhere.read_bytes() == b"mine"


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"'nope', which nothing.*score"):
        fit(tmp_path, [1.0], CheckpointVersions("nope", dirpath=tmp_path))
    (tmp_path / "versions.json").write_text("{")
    with pytest.raises(MisconfigurationException, match="move it away"):
        fit(tmp_path, [1.0], CheckpointVersions("score", dirpath=tmp_path))
    for wrong in ({"keep_best": 0}, {"keep_last": 0}, {"mode": "x"}):
        with pytest.raises(MisconfigurationException, match=next(iter(wrong))):
            CheckpointVersions(**wrong)  # type: ignore[arg-type]
