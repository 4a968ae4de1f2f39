"""Faults in the middle of a fine-tuning of the encoder's real blocks cost nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks import CheckpointVersions, MetricRollback
from callbacks.version_files import is_whole
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.finetune_task import FinetuneTask

BATCHES = 3
# every batch of an epoch is hit; benchmarks/faults.py has 20 trials of each
TRIALS = BATCHES
FEW = 1
TOLERANCE = 0.01
MONITOR = "val/loss"


class Fault(Callback):
    """Hurts the training in its second epoch."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.batch = kind, seed % BATCHES
        self.before = math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 0 and MONITOR in trainer.callback_metrics:
            self.before = min(self.before, float(trainer.callback_metrics[MONITOR]))

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        if trainer.current_epoch != 1:
            return
        if self.kind == "labels":
            batch["target"].copy_((batch["target"] + 1) % 3)
        if batch_idx != self.batch:
            return
        if self.kind == "nan":
            batch["features"]["grid16"].fill_(math.nan)
        if self.kind == "rate":
            for config in trainer.lr_scheduler_configs:
                config.scheduler.base_lrs = [1000 * lr for lr in config.scheduler.base_lrs]
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= 1000

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        here = (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx)
        if self.kind == "inf" and here == (1, self.batch):
            for parameter in pl_module.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(math.inf)


@pytest.fixture(scope="module")
def data(cache: Path) -> CachedFeatureDataModule:
    return CachedFeatureDataModule(str(cache), ("grid16",), batch_size=9)


@pytest.fixture(scope="module")
def start(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pooled = CachedFeatureDataModule(str(cache))
    task = ClassificationTask("mlp", label_smoothing=0.1, **linked(pooled))
    run = trainer(4, [])
    run.fit(task, datamodule=pooled)
    path = tmp_path_factory.mktemp("start") / "start.ckpt"
    run.save_checkpoint(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rate", "nan", "labels", "inf"])
def test_no_fault_lowers_the_score(
    kind: str, start: Path, data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    ruined = 0
    # wrong labels hit all batches
    for seed in range(FEW if kind == "labels" else TRIALS):
        folder = tmp_path / str(seed)
        rollback = MetricRollback(MONITOR, tolerance=TOLERANCE, dirpath=folder)
        versions = [CheckpointVersions(MONITOR, dirpath=folder)] if seed < FEW else []
        lost = trial(kind, seed, start, data, [rollback, *versions])
        assert lost <= TOLERANCE, seed
        assert all(is_whole(path) for path in folder.glob("*.ckpt"))
        if seed < FEW:
            without = trial(kind, seed, start, data, [])
            ruined += not without <= TOLERANCE
    # the same faults do harm where nothing rolls back; an epoch of wrong labels may not
    assert ruined == FEW or kind == "labels"


def trial(
    kind: str, seed: int, start: Path, data: CachedFeatureDataModule, guards: list[Callback]
) -> float:
    torch.manual_seed(seed)
    data.seed = seed
    task = FinetuneTask(str(start), lr=1e-3, label_smoothing=0.1, **linked(data))
    fault = Fault(kind, seed)
    run = trainer(3, [*guards, fault])
    run.fit(task, datamodule=data)
    assert math.isfinite(fault.before)
    (scores,) = run.validate(task, datamodule=data, verbose=False)
    return float(scores[MONITOR]) - fault.before


def linked(data: CachedFeatureDataModule) -> dict[str, Any]:
    names = ("class_names", "class_counts", "feature_shapes", "encoder")
    return {name: getattr(data, name) for name in names}


def trainer(epochs: int, callbacks: list[Callback]) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        num_sanity_val_steps=-1,
        logger=False,
        enable_checkpointing=any(isinstance(c, CheckpointVersions) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
