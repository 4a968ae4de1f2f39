"""Fine-tuning from a cached grid beside the usual ways, and what faults do to each.

    python benchmarks/finetuning.py --data PHOTOS --field FIELD --out WORK

All start from the same packaged weights and learn from the same leaf-separated split:

- ``head``: the attention head of ``configs/heads/attention.yaml`` on cached features; what is
  fine-tuned. Its seconds include the extraction.
- ``lazarus``: ``configs/finetune/progressive.yaml`` from that head. Its seconds include the head's.
- ``lazarus + views``: the same, seven of ten photos in one of six cached views (``light``). Its
  seconds include the extraction of the views.
- ``full``: plain Lightning, the whole network from photos, AdamW with one rate.
- ``BackboneFinetuning``: Lightning's callback, its defaults, thawing after an epoch.

Peers decode photos and flip them, and are given what they reach after every epoch. ``seconds`` is
the time to the best score on val, whose weights are scored on test; ``far`` repeats it all on the
first 40 % of each range (as ``generalisation.py``), with test the same.

Then faults are injected into the fine-tuning, with and without the rollback: a learning rate 1000
times too large, a batch of NaN, shuffled labels, infinite gradients. ``lost`` is how far the final
weights score below the best before the fault, on val.

What is done in WORK is not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import torch
from generalisation import _encoded, _far_table, _macro_f1, _score, _test_side
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint
from report import Row, report
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from callbacks import MetricRollback
from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.decode import read_pixels
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.lightning_cli import run_lightning
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.finetune_task import FinetuneTask
from lazarus_pl.views.views_spec import ViewsSpec

_SIDE = 256
_BATCH = 32
_LR = 1e-3
_FAULTS = ("rate", "nan", "labels", "inf")
_TOLERANCE = 0.02
_VIEWS = ViewsSpec(6, "light")
_WAYS = ("head", "lazarus", "lazarus + views", "full", "BackboneFinetuning")

Sample = tuple[Tensor, int]
Batch = tuple[Tensor, Tensor]
Encoded = tuple[dict[str, npt.NDArray[np.float16]], list[str]]


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--field", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3, help="of the peers")
    parser.add_argument("--trials", type=int, default=20, help="of each fault")
    parser.add_argument("--ways", nargs="*", default=_WAYS)
    parser.add_argument("--only", nargs="*", default=["test", "far", "faults"])
    options = parser.parse_args()
    for side in [name for name in options.only if name != "faults"]:
        rows = list(_compare(options, side))
        report(f"finetuning_{side}", rows, {"peers' epochs": options.epochs, "split": side})
    if "faults" in options.only:
        cache = options.out / "cache"
        _extract(options.data, cache, SplitSpec())
        start = _head(cache, options.out / "test")[0]
        rows = list(_faults(cache, start, options.trials))
        report("finetuning_faults", rows, {"trials": options.trials, "tolerance": _TOLERANCE})


def _compare(options: argparse.Namespace, side: str) -> Iterator[Row]:
    cache, data = options.out / "cache", options.data
    seconds = _extract(data, cache, SplitSpec())
    if side == "far":
        data = _far_table(data, cache, options.out / "far.csv")
        cache = options.out / "far-cache"
        seconds = _extract(data, cache, SplitSpec("predefined"))
    folder, field = options.out / side, _encoded(options.field)
    head, of_head = _head(cache, folder)
    seconds += of_head
    for way in options.ways:
        if way == "head":
            yield _row(way, head, cache, seconds, field)
        elif way == "lazarus":
            yield _row(way, *_lazarus(cache, head, folder / "lazarus", seconds), field=field)
        elif way == "lazarus + views":
            split = SplitSpec("predefined" if side == "far" else "leaf")
            more = seconds + _extract(data, cache, split, _VIEWS)
            drawn = ("--data.init_args.views=all", "--data.init_args.plain_weight=0.3")
            policy = f"--data.init_args.views_policy={_VIEWS.policy}"
            tuned = _lazarus(cache, head, folder / "views", more, *drawn, policy)
            yield _row(way, *tuned, field=field)
        else:
            root = Path() if side == "far" else data
            yield _peer(way, root, cache, options.field, folder, options.epochs)


def _extract(data: Path, out: Path, split: SplitSpec, views: ViewsSpec | None = None) -> float:
    """The seconds that it took when it was done."""
    started = time.perf_counter()
    Extraction(data, out, EncoderSpec(), split, make_engine, views=views, say=print).run()
    took = time.perf_counter() - started
    known = out.parent / f"{out.name}-{'views' if views else 'plain'}-seconds.json"
    before = json.loads(known.read_text()) if known.exists() else 0.0
    # what is there is only looked through
    known.write_text(json.dumps(max(took, before)))
    return max(took, float(before))


def _head(cache: Path, out: Path) -> tuple[Path, float]:
    return _fitted("heads/attention.yaml", cache, out / "head")


def _lazarus(
    cache: Path, start: Path, out: Path, seconds: float, *extra: str
) -> tuple[Path, Path, float]:
    begin = f"--model.init_args.start={start}"
    tuned, more = _fitted("finetune/progressive.yaml", cache, out, begin, *extra)
    return tuned, cache, seconds + more


def _fitted(config: str, cache: Path, out: Path, *extra: str) -> tuple[Path, float]:
    """Its best checkpoint, and the seconds that the whole run took."""
    done = out / "seconds.json"
    if not done.exists():
        started = time.perf_counter()
        run_lightning(
            [
                *("fit", "-c", str(shipped_config(config)), f"--data.init_args.cache={cache}"),
                *(f"--trainer.default_root_dir={out}", "--trainer.enable_progress_bar=false"),
                *("--trainer.enable_model_summary=false", *extra),
            ]
        )
        done.write_text(json.dumps(time.perf_counter() - started))
    best = max(out.glob("lightning_logs/*/checkpoints/best.ckpt"))
    return best, float(json.loads(done.read_text()))


def _row(name: str, checkpoint: Path, cache: Path, seconds: float, field: Encoded) -> Row:
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return {
        "way": name,
        "val": content["lazarus"]["scores"]["val/macro_f1"],
        "test": _score(checkpoint, _test_side(cache)),
        "field": _score(checkpoint, field),
        "seconds": seconds,
    }


class _Photos(Dataset[Sample]):
    """Photos as the encoder reads them, flipped in training."""

    def __init__(self, root: Path, photos: list[tuple[str, int]], flip: bool) -> None:
        self._root, self._photos, self._flip = root, photos, flip

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, item: int) -> Sample:
        path, label = self._photos[item]
        pixels = torch.from_numpy(read_pixels((self._root / path).read_bytes(), _SIDE, "bicubic"))
        for dimension in (0, 1):
            if self._flip and torch.rand(()) < 0.5:
                pixels = pixels.flip(dimension)
        return pixels, label


class _Peer(LightningModule):
    """The network and a linear classifier, from photos."""

    mean: Tensor
    scale: Tensor

    def __init__(self, classes: int, whole: bool) -> None:
        super().__init__()
        encoder = Encoder.from_spec(EncoderSpec())
        model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
        model.load_state_dict(
            {n: v for n, v in encoder.model.state_dict().items() if not n.startswith("classifier")}
        )
        self.register_buffer("mean", encoder.mean.clone())
        self.register_buffer("scale", encoder.scale.clone())
        self.backbone = model
        self.classifier = nn.Linear(model.num_features, classes)
        self._whole = whole
        self.seconds: list[float] = []
        self.scores: list[float] = []
        self._started = 0.0
        self._told: list[tuple[Tensor, Tensor]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        images = torch.addcmul(self.mean, pixels.permute(0, 3, 1, 2).float(), self.scale)
        logits: Tensor = self.classifier(self.backbone(images))
        return logits

    def on_train_start(self) -> None:
        self._started = time.perf_counter()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1], label_smoothing=0.1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._told.append((self(batch[0]).argmax(dim=1), batch[1]))

    def on_validation_epoch_end(self) -> None:
        told, truth = (torch.cat(part).numpy() for part in zip(*self._told, strict=True))
        self._told = []
        names = [str(number) for number in range(self.classifier.out_features)]
        score = _macro_f1([names[number] for number in truth], told, names)
        self.log("val_macro_f1", score)
        self.scores.append(score)
        self.seconds.append(time.perf_counter() - self._started)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = self.parameters() if self._whole else self.classifier.parameters()
        return torch.optim.AdamW(parameters, lr=_LR)


def _peer(name: str, root: Path, cache: Path, field: Path, folder: Path, epochs: int) -> Row:
    done = folder / name / "row.json"
    if done.exists():
        row: Row = json.loads(done.read_text())
        return row
    manifest = Manifest.read(cache)
    names = list(manifest.class_names)
    sides = {
        side: _Photos(root, _listed(manifest.side(side), names), flip=side == "train")
        for side in ("train", "val", "test")
    }
    seed_everything(0)
    model = _Peer(len(names), whole=name == "full")
    keep = ModelCheckpoint(folder / name, "best", "val_macro_f1", mode="max")
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[keep] if name == "full" else [_thaw(), keep],
    )
    trainer.fit(model, _loader(sides["train"], True), _loader(sides["val"], False))
    best = int(np.argmax(model.scores))
    state = torch.load(keep.best_model_path, weights_only=True)["state_dict"]
    model.load_state_dict(state)
    found, listed = list_photos(field)
    of_field = [item for item in listed if item.looks_like_a_photo and item.label in names]
    photos = _Photos(found, [(i.path, names.index(i.label)) for i in of_field], flip=False)
    row = {
        "way": name,
        "val": model.scores[best],
        "test": _score_photos(model, sides["test"], names),
        "field": _score_photos(model, photos, names),
        "seconds": model.seconds[best],
    }
    done.write_text(json.dumps(row))
    return row


def _thaw() -> BackboneFinetuning:
    return BackboneFinetuning(unfreeze_backbone_at_epoch=1, lambda_func=lambda epoch: 1.5)


def _listed(photos: Sequence[Photo], names: list[str]) -> list[tuple[str, int]]:
    return [(photo.path, names.index(photo.label)) for photo in photos]


def _loader(photos: _Photos, shuffle: bool) -> DataLoader[Sample]:
    return DataLoader(photos, _BATCH, shuffle=shuffle, drop_last=shuffle)


@torch.inference_mode()
def _score_photos(model: _Peer, photos: _Photos, names: list[str]) -> float:
    model.eval()
    told, truth = [], []
    for pixels, labels in _loader(photos, False):
        told.append(model(pixels).argmax(dim=1).numpy())
        truth += [names[int(label)] for label in labels]
    return _macro_f1(truth, np.concatenate(told), names)


class _Fault(Callback):
    """Hurts the training at one step of its second epoch."""

    def __init__(self, kind: str, seed: int, batches: int) -> None:
        self._kind = kind
        self._batch = int(np.random.default_rng(seed).integers(batches))
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


def _faults(cache: Path, start: Path, trials: int) -> Iterator[Row]:
    """Short fine-tunings of the head and the last convolution, with a fault in each."""
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
    batches = 6
    fault = _Fault(kind, seed, batches)
    callbacks: list[Callback] = [fault]
    if guarded:
        rollback = MetricRollback("val/macro_f1", "max", tolerance=_TOLERANCE, dirpath=cache)
        callbacks.insert(0, rollback)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        limit_train_batches=batches,
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
