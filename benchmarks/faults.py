"""What faults in the middle of a fine-tuning do to it, with and without the rollback.

    python benchmarks/faults.py --data PHOTOS --out WORK

A head is trained on a quarter of the photos, and trained on in three short epochs of six batches.
In the second one something goes wrong, at a step that the seed draws: a learning rate 1000 times
too large from there on, a batch of NaN, labels shuffled for the whole epoch, infinite gradients.
``lost`` is how far the final weights score on val below the best before the fault.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from report import Row, report
from subset import subset

from callbacks import MetricRollback
from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.lightning_cli import run_lightning
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.finetune_task import FinetuneTask

_FAULTS = ("rate", "nan", "labels", "inf")
_TOLERANCE = 0.02
_PHOTOS = 1100
_BATCH, _BATCHES = 32, 6


def main() -> None:
    """Runs the trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=20, help="of each fault")
    options = parser.parse_args()
    cache = options.out / "cache"
    photos = subset(options.data, options.out / "photos", _PHOTOS)
    Extraction(photos, cache, EncoderSpec(), SplitSpec(), make_engine, say=print).run()
    rows = list(_rows(cache, _head(cache, options.out / "head"), options.trials))
    report("faults", rows, {"trials": options.trials, "tolerance": _TOLERANCE})


def _head(cache: Path, out: Path) -> Path:
    config = str(shipped_config("heads/attention.yaml"))
    words = [f"--data.init_args.cache={cache}", f"--trainer.default_root_dir={out}"]
    run_lightning(["fit", "-c", config, *words, "--trainer.enable_progress_bar=false"])
    return max(out.glob("lightning_logs/*/checkpoints/best.ckpt"))


class _Fault(Callback):
    """Hurts the training at one step of its second epoch."""

    def __init__(self, kind: str, seed: int) -> None:
        self._kind = kind
        self._batch = int(np.random.default_rng(seed).integers(_BATCHES))
        self.before = -np.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 0 and "val/macro_f1" in trainer.callback_metrics:
            self.before = max(self.before, float(trainer.callback_metrics["val/macro_f1"]))

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        if trainer.current_epoch != 1:
            return
        if self._kind == "labels":
            batch["target"].copy_(batch["target"][torch.randperm(len(batch["target"]))])
        if batch_idx != self._batch:
            return
        if self._kind == "nan":
            batch["features"]["grid16"].fill_(float("nan"))
        if self._kind == "rate":
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= 1000
            for schedule in trainer.lr_scheduler_configs:
                schedule.scheduler.base_lrs = [r * 1000 for r in schedule.scheduler.base_lrs]

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        here = (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx)
        if self._kind == "inf" and here == (1, self._batch):
            for parameter in pl_module.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(float("inf"))


def _rows(cache: Path, start: Path, trials: int) -> Iterator[Row]:
    for kind in _FAULTS:
        for guarded in (True, False):
            lost = [_lost(cache, start, kind, seed, guarded) for seed in range(trials)]
            yield {
                "fault": kind,
                "rollback": "yes" if guarded else "no",
                "trials": trials,
                "lost, worst": max(lost),
                "lost, median": float(np.median(lost)),
                "beyond tolerance": sum(value > _TOLERANCE for value in lost),
            }


def _lost(cache: Path, start: Path, kind: str, seed: int, guarded: bool) -> float:
    seed_everything(seed)
    data = CachedFeatureDataModule(str(cache), ("grid16",), batch_size=_BATCH, seed=seed)
    names = ("class_names", "class_counts", "feature_shapes", "encoder")
    linked = {name: getattr(data, name) for name in names}
    task = FinetuneTask(str(start), lr=3e-4, **linked)
    task.tail.requires_grad_(False)
    fault = _Fault(kind, seed)
    callbacks: list[Callback] = [fault]
    if guarded:
        rollback = MetricRollback("val/macro_f1", "max", tolerance=_TOLERANCE, dirpath=cache)
        callbacks.insert(0, rollback)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        limit_train_batches=_BATCHES,
        num_sanity_val_steps=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(task, datamodule=data)
    found = trainer.validate(task, datamodule=data, verbose=False)[0]["val/macro_f1"]
    return fault.before - float(found)


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    main()
