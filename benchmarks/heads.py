"""The nine-run grid against nine plain Lightning runs over a ``TensorDataset``.

    python benchmarks/heads.py --cache CACHE
    python benchmarks/heads.py --cache CACHE --photos 26000

The seconds of a run in the grid are its share of those of the runs that were trained together. With
``--photos`` the pooled features of the cache are repeated with noise, and the six runs that read
pooled features are compared.

The plain runs train the same heads with the same learning rates, loss, schedule and early stopping
on the same features in memory, with a default DataLoader, in the Trainer's default precision.
"""

from __future__ import annotations

import argparse
import csv
import logging
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from repeated_cache import repeated_cache
from report import Row, report
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassF1Score

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.grid.grid_spec import GridRun, GridSpec
from lazarus_pl.grid.run_grid import run_grid
from lazarus_pl.heads.build_head import build_head
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.cosine_schedule import CosineSchedule


class _Plain(LightningModule):
    def __init__(self, head: torch.nn.Module, layers: list[str], lr: float, classes: int) -> None:
        super().__init__()
        self.head = head
        self.layers = layers
        self.lr = lr
        self.loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
        self.macro_f1 = MulticlassF1Score(classes, average="macro")

    def forward(self, features: list[Tensor]) -> Tensor:
        named = zip(self.layers, features, strict=True)
        logits: Tensor = self.head({layer: values.float() for layer, values in named})
        return logits

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss: Tensor = self.loss(self(batch[:-1]), batch[-1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.macro_f1(self(batch[:-1]), batch[-1])
        self.log("val/macro_f1", self.macro_f1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.01)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, CosineSchedule(total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def plain_run(cache: FeatureCache, config: dict[str, Any], lr: float, work: Path) -> float:
    """Trains one head the plain way; returns its best macro-F1 on val."""
    seed_everything(0, verbose=False)
    layers = config["data"]["init_args"]["layers"]
    loaders = {}
    statistics: list[tuple[Any, Any]] = []
    for side in ("train", "val"):
        indices = cache.indices(side)
        arrays = []
        for place, layer in enumerate(layers):
            values = cache.gather(layer, indices).astype(np.float32)
            if side == "train":
                axes = tuple(range(values.ndim - 1))
                statistics.append((values.mean(axes), values.std(axes) + 1e-6))
            mean, deviation = statistics[place]
            arrays.append(torch.from_numpy(((values - mean) / deviation).astype(np.float16)))
        targets = torch.from_numpy(cache.targets[indices])
        dataset = TensorDataset(*arrays, targets)
        loaders[side] = DataLoader(dataset, batch_size=256, shuffle=side == "train")
    arguments = config["model"]["init_args"]
    shapes = {layer: cache.feature_shapes[layer] for layer in layers}
    classes = cache.manifest.num_classes
    head = build_head(arguments["head"], shapes, classes, **arguments.get("head_options", {}))
    watching = {each["class_path"]: each for each in config["trainer"]["callbacks"]}
    patience = watching["EarlyStopping"]["init_args"]["patience"]
    best = ModelCheckpoint(work, monitor="val/macro_f1", mode="max")
    trainer = Trainer(
        max_epochs=config["trainer"]["max_epochs"],
        default_root_dir=work,
        callbacks=[best, EarlyStopping("val/macro_f1", mode="max", patience=patience)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(_Plain(head, layers, lr, classes), loaders["train"], loaders["val"])
    return float(best.best_model_score or 0.0)


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--photos", type=int, help="repeat the cache's, and read pooled alone")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    spec = GridSpec.from_file(shipped_config("grids/heads_3x3.yaml"))
    with tempfile.TemporaryDirectory() as temporary:
        work, source = Path(temporary), options.cache
        if options.photos:
            source = work / "cache"
            repeated_cache(FeatureCache(options.cache), source, options.photos)
            configs = {name: c for name, c in spec.configs.items() if name != "attention"}
            spec = GridSpec(configs, spec.axes, spec.overrides)
        cache = FeatureCache(source)
        started = time.perf_counter()
        run_grid(spec, source, work / "grid", read_test=False)
        grid_seconds = time.perf_counter() - started
        ours = _leaderboard(work / "grid")
        rows = [_compared(run, cache, ours, work / "plain") for run in spec.runs()]
    plain_seconds = sum(float(row["plain_seconds"]) for row in rows)
    total: Row = {
        "run": "all, best",
        "grid_seconds": grid_seconds,
        "plain_seconds": plain_seconds,
        "grid_val_macro_f1": max(float(row["grid_val_macro_f1"]) for row in rows),
        "plain_val_macro_f1": max(float(row["plain_val_macro_f1"]) for row in rows),
    }
    about = {"train_photos": len(cache.indices("train")), "ratio": plain_seconds / grid_seconds}
    report(f"heads_{options.photos}" if options.photos else "heads", [*rows, total], about)


def _leaderboard(grid: Path) -> dict[str, dict[str, str]]:
    """Rows by the run's name."""
    with (grid / "leaderboard.csv").open(encoding="utf-8") as file:
        return {Path(row["checkpoint"]).parts[1]: row for row in csv.DictReader(file)}


def _compared(
    run: GridRun, cache: FeatureCache, ours: dict[str, dict[str, str]], work: Path
) -> Row:
    config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    started = time.perf_counter()
    score = plain_run(cache, config, float(str(run.overrides["model.init_args.lr"])), work)
    seconds = time.perf_counter() - started
    shutil.rmtree(work, ignore_errors=True)
    return {
        "run": run.name,
        "grid_seconds": float(ours[run.name]["seconds"]),
        "plain_seconds": seconds,
        "grid_val_macro_f1": float(ours[run.name]["val_macro_f1"]),
        "plain_val_macro_f1": score,
    }


if __name__ == "__main__":
    main()
