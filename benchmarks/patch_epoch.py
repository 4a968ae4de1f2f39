"""An epoch of training the patch head, against reading the same grids alone.

    python benchmarks/patch_epoch.py --cache CACHE

Trains the shipped ``configs/patches/patches.yaml`` for a few epochs and times each epoch's training
and validation by themselves. Between them the grids of train and val are read in the same batches
and nothing is done with them, so that a slow minute of the machine touches both. Seconds of the
processor are those of all threads; where others use the machine they say more than the clock's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from report import report

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.lightning_cli import run_lightning
from lazarus_pl.shipped_config import shipped_config

Times = tuple[float, float]


class _Clock(Callback):
    """Times training and validation of every epoch, and reads the grids alone after each."""

    def __init__(self, data: CachedFeatureDataModule) -> None:
        self._data = data
        self._before = _now()
        self.taken: dict[str, list[Times]] = {"reading": [], "training": [], "validation": []}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = _now()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._stop("training")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._stop("validation")
        train = self._data.train_dataloader()
        train.sampler.set_epoch(trainer.current_epoch)  # type: ignore[attr-defined]
        for loader in (train, self._data.val_dataloader()):
            for _ in loader:
                pass
        self._stop("reading")

    def best(self, what: str) -> Times:
        """The least of the epochs but the first, which fills the system's caches."""
        clock, processor = zip(*self.taken[what][1:], strict=True)
        return min(clock), min(processor)

    def _stop(self, what: str) -> None:
        now = _now()
        self.taken[what].append((now[0] - self._before[0], now[1] - self._before[1]))
        self._before = _now()


def _now() -> Times:
    return time.perf_counter(), time.process_time()


def main() -> None:
    """Prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    cache = FeatureCache(options.cache)
    layers = ("grid16", "grid32")
    clock = _Clock(CachedFeatureDataModule(str(options.cache), layers, batch_size=64))
    with tempfile.TemporaryDirectory() as folder:
        words = ["fit", f"--config={shipped_config('patches/patches.yaml')}"]
        words += [
            f"--data.init_args.cache={options.cache}",
            f"--trainer.max_epochs={options.epochs}",
        ]
        words += [f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false"]
        run_lightning(words, [clock])
    best = {what: clock.best(what) for what in clock.taken}
    best["an epoch"] = (
        best["training"][0] + best["validation"][0],
        best["training"][1] + best["validation"][1],
    )
    report(
        "patch_epoch",
        [
            {
                "what": what,
                "seconds": seconds,
                "processor_seconds": processor,
                "ratio_to_reading": processor / best["reading"][1],
            }
            for what, (seconds, processor) in best.items()
        ],
        {
            "photos": len(cache.manifest.photos),
            "train": len(cache.indices("train")),
            "val": len(cache.indices("val")),
            "epochs": options.epochs,
            "threads": torch.get_num_threads(),
            "taken": "the best of the epochs but the first; the ratio is that of the processor",
        },
    )


if __name__ == "__main__":
    main()
