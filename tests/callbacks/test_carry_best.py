from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks import CarryBest


class Scripted(LightningModule):
    """Its score at each epoch is written down beforehand."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.layer_ = nn.Linear(1, 1)
        self.scores = scores

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer_(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("score", self.scores[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    folder: Path,
    scores: Sequence[float],
    ckpt: Path | None = None,
    model: Scripted | None = None,
    **options: object,
) -> ModelCheckpoint:
    checkpoint = ModelCheckpoint(
        dirpath=folder,
        **{
            "monitor": "score",
            "mode": "max",
            "filename": "best",
            "save_last": True,
            "enable_version_counter": False,
            **options,
        },
    )
    loader = DataLoader(torch.ones(2, 1))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=len(scores),
        logger=False,
        callbacks=[checkpoint, CarryBest()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model or Scripted(scores), loader, loader, ckpt_path=ckpt)
    return checkpoint


def epoch(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["epoch"])


def test_the_old_best_stays_until_a_better_one_comes(tmp_path: Path) -> None:
    fit(tmp_path / "a", [0.2, 0.9, 0.5])
    worse = fit(tmp_path / "b", [0.2, 0.9, 0.5, 0.6, 0.7], tmp_path / "a" / "last.ckpt")
    assert worse.best_model_path == str(tmp_path / "b" / "best.ckpt")
    assert worse.best_model_score == pytest.approx(0.9)
    assert epoch(tmp_path / "b" / "best.ckpt") == 1
    assert epoch(tmp_path / "b" / "last.ckpt") >= 4
    better = fit(tmp_path / "c", [0, 0, 0, 0, 0, 0.95, 0.1], tmp_path / "b" / "last.ckpt")
    assert better.best_model_score == pytest.approx(0.95)
    assert epoch(tmp_path / "c" / "best.ckpt") == 5
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_lowest_is_the_best_where_the_mode_says_so(tmp_path: Path) -> None:
    fit(tmp_path / "a", [0.2, 0.1, 0.5], mode="min")
    kept = fit(tmp_path / "b", [9, 9, 9, 0.3], tmp_path / "a" / "last.ckpt", mode="min")
    assert kept.best_model_score == pytest.approx(0.1)
    assert epoch(tmp_path / "b" / "best.ckpt") == 1


def test_several_best_ones(tmp_path: Path) -> None:
    names = {"filename": "{epoch}", "save_top_k": 2}
    fit(tmp_path / "a", [0.2, 0.9, 0.5], **names)
    kept = fit(tmp_path / "b", [0, 0, 0, 0.6, 0.7], tmp_path / "a" / "last.ckpt", **names)
    assert epoch(Path(kept.best_model_path)) == 1
    assert {path.name for path in (tmp_path / "b").glob("epoch*")} == {
        *("epoch=1.ckpt", "epoch=4.ckpt"),
    }


def test_a_run_that_was_moved(tmp_path: Path) -> None:
    fit(tmp_path / "a", [0.2, 0.9, 0.5])
    (tmp_path / "a").rename(tmp_path / "moved")
    kept = fit(tmp_path / "b", [0, 0, 0, 0.6], tmp_path / "moved" / "last.ckpt")
    assert kept.best_model_score == pytest.approx(0.9)
    assert epoch(tmp_path / "b" / "best.ckpt") == 1


def test_a_best_one_that_is_gone_is_said(tmp_path: Path) -> None:
    fit(tmp_path / "a", [0.2, 0.9, 0.5])
    (tmp_path / "a" / "best.ckpt").unlink()
    with pytest.warns(UserWarning, match="is not there any more"):
        kept = fit(tmp_path / "b", [0, 0, 0, 0.6], tmp_path / "a" / "last.ckpt")
    assert kept.best_model_score == pytest.approx(0.6)


def test_a_checkpoint_before_the_first_validation_has_no_best(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    early = tmp_path / "early.ckpt"

    class Saves(Scripted):
        def on_train_batch_end(self, *rest: object) -> None:
            if not early.exists():
                self.trainer.save_checkpoint(early)

    fit(tmp_path / "first", [0.1], model=Saves([0.1]))
    fit(tmp_path / "second", [0.1, 0.2], early)
    assert not [w for w in recwarn if "the best checkpoint so far" in str(w.message)]


def test_the_same_folder_and_a_first_run_need_nothing(tmp_path: Path) -> None:
    fit(tmp_path, [0.2, 0.9, 0.5])
    kept = fit(tmp_path, [0.2, 0.9, 0.5, 0.6], tmp_path / "last.ckpt")
    assert kept.best_model_score == pytest.approx(0.9)
    assert epoch(tmp_path / "best.ckpt") == 1
