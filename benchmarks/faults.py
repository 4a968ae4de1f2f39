"""What faults in the middle of a fine-tuning do to it, with and without the rollback.

    python benchmarks/faults.py --data PHOTOS --out WORK

A head is trained on a quarter of the photos, and fine-tuned with the encoder's last blocks as
``configs/finetune/progressive.yaml`` says, but for three epochs of a few batches, with and without
its ``MetricRollback``. In the second epoch something goes wrong, at a step that the seed draws: a
learning rate 1000 times too large from there on, a batch of NaN, labels shuffled for the whole
epoch, infinite gradients. In the trials ``in a row`` another follows in the third of four epochs;
which ones is drawn too.

``lost`` is how far the final weights score on test, which the rollback never sees, below the best
before the fault; both are chosen on val. Trials that are done in WORK are not done again.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from report import Row, report
from scored_photos import Photos, macro_f1, test_side
from subset import subset
from torch import Tensor

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.lightning_cli import LazarusCLI
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.classification_task import ClassificationTask

_FAULTS = ("rate", "nan", "labels", "inf")
_IN_A_ROW = "in a row"
_PHOTOS, _BATCHES = 1100, 4
_QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


def main() -> None:
    """Runs the trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=20, help="of each fault")
    parser.add_argument("--only", choices=(*_FAULTS, _IN_A_ROW), help="one of the faults")
    options = parser.parse_args()
    kinds = (options.only,) if options.only else (*_FAULTS, _IN_A_ROW)
    cache = options.out / "cache"
    photos = subset(options.data, options.out / "photos", _PHOTOS)
    Extraction(photos, cache, EncoderSpec(), SplitSpec(), make_engine, say=print).run()
    start = _head(cache, options.out / "head")
    rows = list(_rows(cache, start, options.out / "trials", options.trials, kinds))
    name = f"faults_{_word(options.only)}" if options.only else "faults"
    report(name, rows, {"trials": options.trials, "photos": _PHOTOS})


def _head(cache: Path, out: Path) -> Path:
    done = sorted(out.glob("lightning_logs/*/checkpoints/best.ckpt"))
    if not done:
        config = str(shipped_config("heads/attention.yaml"))
        LazarusCLI(["fit", "-c", config, *_QUIET, *_words(cache, out)])
        done = sorted(out.glob("lightning_logs/*/checkpoints/best.ckpt"))
    return done[-1]


def _words(cache: Path, out: Path) -> list[str]:
    return [f"--data.init_args.cache={cache}", f"--trainer.default_root_dir={out}"]


def _word(kind: str) -> str:
    return kind.replace(" ", "_")


def _rows(
    cache: Path, start: Path, out: Path, trials: int, kinds: tuple[str, ...]
) -> Iterator[Row]:
    photos = test_side(cache)
    for kind in kinds:
        for guarded in (True, False):
            trial = out / f"{_word(kind)}-{'guarded' if guarded else 'bare'}"
            lost = [
                _lost(cache, start, kind, seed, guarded, trial / str(seed), photos)
                for seed in range(trials)
            ]
            yield {
                "fault": kind,
                "rollback": "yes" if guarded else "no",
                "trials": trials,
                "lost, worst": max(lost),
                "lost, median": float(np.median(lost)),
                "lost more than 0.05": sum(value > 0.05 for value in lost),
            }


def _lost(
    cache: Path, start: Path, kind: str, seed: int, guarded: bool, out: Path, photos: Photos
) -> float:
    done = out / "lost.json"
    if done.exists():
        return float(json.loads(done.read_text(encoding="utf-8")))
    out.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(shipped_config("finetune/progressive.yaml").read_text(encoding="utf-8"))
    config["seed_everything"] = seed
    faults = _drawn(kind, seed)
    epochs = 2 + len(faults)
    config["trainer"] |= {"max_epochs": epochs, "limit_train_batches": _BATCHES, "logger": False}
    config["trainer"]["callbacks"] = [
        each
        for each in config["trainer"]["callbacks"]
        if each["class_path"] in ("ProgressiveUnfreezing", "MetricRollback")
        and (guarded or each["class_path"] != "MetricRollback")
    ]
    (out / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    fault = _Faults(faults, seed)
    begin = f"--model.init_args.start={start}"
    words = ["fit", "-c", str(out / "config.yaml"), *_QUIET, *_words(cache, out), begin]
    model = LazarusCLI(words, callbacks=[fault]).model
    found = _score(model, photos)
    model.load_state_dict(fault.best)
    lost = _score(model, photos) - found
    done.write_text(json.dumps(lost), encoding="utf-8")
    return lost


def _drawn(kind: str, seed: int) -> tuple[str, ...]:
    """What goes wrong in the second epoch, in the third, and so on."""
    if kind != _IN_A_ROW:
        return (kind,)
    return tuple(np.random.default_rng(seed).choice(_FAULTS, 2).tolist())


@torch.inference_mode()
def _score(task: ClassificationTask, photos: Photos) -> float:
    task.eval()
    grids, truth = torch.from_numpy(photos[0]["grid16"]), photos[1]
    parts = (grids[start : start + 64] for start in range(0, len(grids), 64))
    told = torch.cat([task({"grid16": part}).argmax(dim=1) for part in parts])
    return macro_f1(truth, told.numpy(), task.class_names)


class _Faults(Callback):
    """Hurts the training at one step of each epoch but the first; keeps the best weights before."""

    def __init__(self, kinds: tuple[str, ...], seed: int) -> None:
        self._kinds = kinds
        self._batch = int(np.random.default_rng(seed).integers(_BATCHES))
        self._score = -np.inf
        self.best: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = float(trainer.callback_metrics.get("val/macro_f1", -np.inf))
        if trainer.current_epoch == 0 and score > self._score:
            self._score, self.best = score, copy.deepcopy(pl_module.state_dict())

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        kind = self._now(trainer)
        if kind == "labels":
            batch["target"].copy_(batch["target"][torch.randperm(len(batch["target"]))])
        if batch_idx != self._batch:
            return
        if kind == "nan":
            batch["features"]["grid16"].fill_(float("nan"))
        if kind == "rate":
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= 1000
            for schedule in trainer.lr_scheduler_configs:
                schedule.scheduler.base_lrs = [r * 1000 for r in schedule.scheduler.base_lrs]

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._now(trainer) != "inf" or trainer.fit_loop.epoch_loop.batch_idx != self._batch:
            return
        for parameter in pl_module.parameters():
            if parameter.grad is not None:
                parameter.grad.fill_(float("inf"))

    def _now(self, trainer: Trainer) -> str | None:
        faults = (None, *self._kinds)
        return faults[trainer.current_epoch] if trainer.current_epoch < len(faults) else None


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    main()
