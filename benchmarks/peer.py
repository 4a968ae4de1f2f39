"""Fine-tuning the usual ways: plain Lightning on a network that reads photos."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint
from report import Row
from scored_photos import macro_f1
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from lazarus_pl.data.decode import read_pixels
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec

_SIDE = 256
_BATCH = 32
_LR = 1e-3

Sample = tuple[Tensor, int]
Batch = tuple[Tensor, Tensor]


class _FlippedPhotos(Dataset[Sample]):
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
        score = macro_f1([names[number] for number in truth], told, names)
        self.log("val_macro_f1", score)
        self.scores.append(score)
        self.seconds.append(time.perf_counter() - self._started)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = self.parameters() if self._whole else self.classifier.parameters()
        return torch.optim.AdamW(parameters, lr=_LR)


def train_peer(name: str, root: Path, cache: Path, field: Path, folder: Path, epochs: int) -> Row:
    """Trains one, unless it was done, and scores its best epoch.

    Args:
        name: ``full``, or ``BackboneFinetuning``.
        root: What the paths in the cache's manifest are relative to.
        cache: Whose split is used.
        field: Other photos of the same classes.
        folder: Gets what is done.
        epochs: How many.
    """
    done = folder / name / "row.json"
    if done.exists():
        row: Row = json.loads(done.read_text())
        return row
    manifest = Manifest.read(cache)
    names = list(manifest.class_names)
    sides = {
        side: _FlippedPhotos(root, _listed(manifest.side(side), names), flip=side == "train")
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
    photos = _FlippedPhotos(found, [(i.path, names.index(i.label)) for i in of_field], flip=False)
    row = {
        "way": name,
        "val": model.scores[best],
        "test": _scored(model, sides["test"], names),
        "field": _scored(model, photos, names),
        "seconds": model.seconds[best],
    }
    done.write_text(json.dumps(row))
    return row


def _thaw() -> BackboneFinetuning:
    return BackboneFinetuning(unfreeze_backbone_at_epoch=1, lambda_func=lambda epoch: 1.5)


def _listed(photos: Sequence[Photo], names: list[str]) -> list[tuple[str, int]]:
    return [(photo.path, names.index(photo.label)) for photo in photos]


def _loader(photos: _FlippedPhotos, shuffle: bool) -> DataLoader[Sample]:
    return DataLoader(photos, _BATCH, shuffle=shuffle, drop_last=shuffle)


@torch.inference_mode()
def _scored(model: _Peer, photos: _FlippedPhotos, names: list[str]) -> float:
    model.eval()
    told, truth = [], []
    for pixels, labels in _loader(photos, False):
        told.append(model(pixels).argmax(dim=1).numpy())
        truth += [names[int(label)] for label in labels]
    return macro_f1(truth, np.concatenate(told), names)
