"""Other libraries' ways to fine-tune the whole network from photos.

All start with the packaged weights of the encoder, read the photos of the same split at 256 px in
float32, as these libraries do by default on a CPU (lazarus takes bfloat16 where the processor has
it), and are given what they reach after every epoch: the weights of the epoch that is best on val
are scored on test, and ``seconds`` end there. ``curve.json`` of the first three has all epochs,
with test; the time that scoring test took does not count.

- ``full``: plain Lightning, everything trains from the first step, AdamW with one rate, flips.
- ``full, on val too``: the same on train and val, for as many epochs, the last of which counts.
- ``BackboneFinetuning``: Lightning's callback, its defaults, thawing after an epoch.
- ``FinetuningScheduler``: of the package of that name; classifier, last blocks, everything, an
  epoch each, then the rest of the epochs; the rate falls by 3 with each phase.
- ``fastai``: ``vision_learner`` and ``fine_tune`` with their defaults and ``aug_transforms``; the
  first epoch is frozen.

The last two need ``pip install finetuning-scheduler fastai``, and are left out without them.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint
from report import Row, folder_of
from scored_photos import macro_f1
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from lazarus_pl.data.decode import read_pixels
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec

PEERS = ("full", "BackboneFinetuning", "FinetuningScheduler", "fastai")
ON_VAL_TOO = "full, on val too"
_NEEDS = {"FinetuningScheduler": "finetuning_scheduler", "fastai": "fastai"}
_MODEL = "tf_efficientnet_lite0"
_SIDE = 256
_BATCH = 32
_LR = 1e-3
_SCHEDULE = {
    0: {"params": ["classifier.*"], "max_transition_epoch": 1},
    1: {
        "params": [r"backbone.(blocks.[56]|conv_head|bn2)\..*"],
        "max_transition_epoch": 2,
        "lr": _LR / 3,
    },
    2: {
        "params": [r"backbone.(conv_stem|bn1|blocks.[0-4])\..*"],
        "max_transition_epoch": 3,
        "lr": _LR / 9,
    },
}

Sample = tuple[Tensor, int]
Batch = tuple[Tensor, Tensor]
Sides = dict[str, list[tuple[Path, int]]]


def is_installed(name: str) -> bool:
    """Whether what the peer needs is there."""
    return name not in _NEEDS or importlib.util.find_spec(_NEEDS[name]) is not None


def train_peer(name: str, data: Path, cache: Path, field: Path, out: Path, epochs: int) -> Row:
    """Fine-tunes as the peer does, or reads what it came to before.

    Args:
        name: One of :data:`PEERS`, or :data:`ON_VAL_TOO`.
        data: Folder that the cache's paths begin at.
        cache: Whose split is used.
        field: Folder of photos from elsewhere, scored too.
        out: Folder for its checkpoint and result.
        epochs: In all.

    Returns:
        ``way``, macro-F1 on ``val``, ``test`` and ``field``, and ``seconds``.
    """
    folder = folder_of(out, name)
    done = folder / "row.json"
    if done.exists():
        row: Row = json.loads(done.read_text())
        return row
    manifest = Manifest.read(cache)
    names = list(manifest.class_names)
    sides = {
        side: [(data / photo.path, names.index(photo.label)) for photo in manifest.side(side)]
        for side in ("train", "val", "test")
    }
    sides["field"] = _listed(field, names)
    if name == ON_VAL_TOO:
        sides["train"] += sides["val"]
    seed_everything(0)
    train = _fastai if name == "fastai" else _lightning
    row = {"way": name, **train(name, sides, names, folder, epochs)}
    done.write_text(json.dumps(row))
    return row


def _listed(folder: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    root, listed = list_photos(folder)
    photos = [item for item in listed if item.looks_like_a_photo and item.label in names]
    return [(root / item.path, names.index(str(item.label))) for item in photos]


class _Photos(Dataset[Sample]):
    """Photos as the encoder reads them, flipped in training."""

    def __init__(self, photos: list[tuple[Path, int]], flip: bool) -> None:
        self._photos, self._flip = photos, flip

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, item: int) -> Sample:
        path, label = self._photos[item]
        pixels = torch.from_numpy(read_pixels(path.read_bytes(), _SIDE, "bicubic"))
        for dimension in (0, 1):
            if self._flip and torch.rand(()) < 0.5:
                pixels = pixels.flip(dimension)
        return pixels, label


class _Classifier(LightningModule):
    """The network and a linear classifier, from photos."""

    mean: Tensor
    scale: Tensor

    def __init__(self, names: Sequence[str], whole: bool, test: list[tuple[Path, int]]) -> None:
        super().__init__()
        encoder = Encoder.from_spec(EncoderSpec())
        self.register_buffer("mean", encoder.mean.clone())
        self.register_buffer("scale", encoder.scale.clone())
        self.backbone = timm.create_model(_MODEL, num_classes=0)
        self.backbone.load_state_dict(_backbone_state())
        self.classifier = nn.Linear(self.backbone.num_features, len(names))
        self._names = names
        self._whole = whole
        self._test = test
        self.curve: list[Row] = []
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
        told, truth = (torch.cat(part) for part in zip(*self._told, strict=True))
        self._told = []
        score = _score(told, truth, self._names)
        self.log("val_macro_f1", score)
        seconds = time.perf_counter() - self._started
        with torch.random.fork_rng(devices=[]):
            test = _score_photos(self, self._test, self._names)
        self.curve.append(
            {"epoch": len(self.curve) + 1, "val": score, "test": test, "seconds": seconds}
        )
        # what the peer itself would not have done takes no time
        self._started = time.perf_counter() - seconds

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = self.parameters() if self._whole else self.classifier.parameters()
        return torch.optim.AdamW(parameters, lr=_LR)


def _lightning(name: str, sides: Sides, names: Sequence[str], out: Path, epochs: int) -> Row:
    model = _Classifier(names, name in ("full", ON_VAL_TOO), sides["test"])
    callbacks = _callbacks(name, out)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=out,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(model, _loader(sides["train"], True), _loader(sides["val"], False))
    (out / "curve.json").write_text(json.dumps(model.curve))
    best = model.curve[-1]
    if name != ON_VAL_TOO:
        best = max(model.curve, key=lambda row: row["val"])
        # written a moment ago by the peer itself, whose callbacks keep objects in it
        kept = torch.load(callbacks[-1].best_model_path, weights_only=False)  # type: ignore[attr-defined]
        model.load_state_dict(kept["state_dict"])
    return {
        **{key: best[key] for key in ("val", "test", "seconds")},
        "field": _score_photos(model, sides["field"], names),
    }


def _callbacks(name: str, out: Path) -> list[Callback]:
    keep: dict[str, Any] = {"filename": "best", "monitor": "val_macro_f1", "mode": "max"}
    if name == "FinetuningScheduler":
        package: Any = importlib.import_module("finetuning_scheduler")
        out.mkdir(parents=True, exist_ok=True)
        schedule = out / "schedule.yaml"
        schedule.write_text(yaml.safe_dump(_SCHEDULE))
        # back to an earlier phase's best its optimizer cannot go: the groups differ
        steps = package.FinetuningScheduler(
            ft_schedule=schedule, epoch_transitions_only=True, restore_best=False
        )
        return [steps, package.FTSCheckpoint(out, save_top_k=1, **keep)]
    if name == "BackboneFinetuning":
        thaw = BackboneFinetuning(unfreeze_backbone_at_epoch=1, lambda_func=_faster)
        return [thaw, ModelCheckpoint(out, **keep)]
    return [ModelCheckpoint(out, **keep)]


def _faster(epoch: int) -> float:
    return 1.5


def _fastai(name: str, sides: Sides, names: Sequence[str], out: Path, epochs: int) -> Row:
    vision: Any = importlib.import_module("fastai.vision.all")
    labels = {path: names[label] for photos in sides.values() for path, label in photos}
    paths = {side: [path for path, _ in photos] for side, photos in sides.items()}
    held_back = set(paths["val"])
    block = vision.DataBlock(
        blocks=(vision.ImageBlock, vision.CategoryBlock(vocab=list(names))),
        get_y=lambda path: labels[path],
        splitter=vision.FuncSplitter(lambda path: path in held_back),
        item_tfms=vision.Resize(_SIDE, method="squish"),
        # the learner adds none of its own without weights of its own
        batch_tfms=[*vision.aug_transforms(), vision.Normalize.from_stats(*_statistics())],
    )
    loaders = block.dataloaders(paths["train"] + paths["val"], bs=_BATCH, num_workers=0, path=out)
    learner = vision.vision_learner(loaders, _MODEL, pretrained=False, path=out)
    learner.model[0].model.load_state_dict(_backbone_state())
    started = time.perf_counter()
    scores: list[float] = []
    seconds: list[float] = []

    class Keep(vision.Callback):  # type: ignore[misc]
        """Scores val after every epoch and keeps the best weights."""

        order = 70

        def before_validate(self) -> None:
            self.told: list[Tensor] = []
            self.truth: list[Tensor] = []

        def after_pred(self) -> None:
            if not self.training:
                self.told.append(self.pred.argmax(dim=1))
                self.truth.append(self.y)

        def after_epoch(self) -> None:
            scores.append(_score(torch.cat(self.told), torch.cat(self.truth), names))
            seconds.append(time.perf_counter() - started)
            if scores[-1] > max(scores[:-1], default=-1.0):
                self.learn.save("best", with_opt=False)

    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs - 1, cbs=Keep())
        learner.load("best")
        best = int(np.argmax(scores))
        found = {}
        for side in ("test", "field"):
            loader = loaders.test_dl(paths[side], with_labels=True)
            told, truth = learner.get_preds(dl=loader)
            found[side] = _score(told.argmax(dim=1), truth, names)
    return {"val": scores[best], **found, "seconds": seconds[best]}


def _statistics() -> tuple[list[float], list[float]]:
    """Mean and deviation of colours from 0 to 1, as the encoder was trained with."""
    encoder = Encoder.from_spec(EncoderSpec())
    deviation = 1 / (255 * encoder.scale.flatten())
    return (-encoder.mean.flatten() * deviation).tolist(), deviation.tolist()


def _backbone_state() -> dict[str, Tensor]:
    state = Encoder.from_spec(EncoderSpec()).model.state_dict()
    return {name: value for name, value in state.items() if not name.startswith("classifier")}


def _loader(photos: list[tuple[Path, int]], train: bool) -> DataLoader[Sample]:
    return DataLoader(_Photos(photos, train), _BATCH, shuffle=train, drop_last=train)


@torch.inference_mode()
def _score_photos(model: nn.Module, photos: list[tuple[Path, int]], names: Sequence[str]) -> float:
    model.eval()
    pairs = [(model(pixels).argmax(dim=1), labels) for pixels, labels in _loader(photos, False)]
    told, truth = (torch.cat(part) for part in zip(*pairs, strict=True))
    return _score(told, truth, names)


def _score(told: Tensor, truth: Tensor, names: Sequence[str]) -> float:
    return macro_f1([names[number] for number in truth.tolist()], told.numpy(), list(names))
