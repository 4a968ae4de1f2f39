"""What a head says of photos, and what it reads of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.data.photo import Photo
from lazarus_pl.datamodules.cached_dataset import CachedDataset
from lazarus_pl.heads.patch_mean import patch_mean
from lazarus_pl.tasks.classification_task import ClassificationTask

_BATCH = 64


@dataclass(frozen=True)
class Readings:
    """Of ``N`` photos.

    Attributes:
        logits: ``(N, classes)``.
        features: One vector a photo, ``(N, D)``: what the head reads, standardised, grids as the
            mean of their cells.
        target: Class indices ``(N,)``; empty where they are not known.
        files: Path of each photo relative to the data's folder; empty where they are not known.
        groups: Leaf of each photo; None where they are not known.
    """

    logits: Tensor
    features: Tensor
    target: Tensor
    files: Sequence[str] = ()
    groups: Sequence[str] | None = None

    @classmethod
    def of(
        cls, task: ClassificationTask, features: Mapping[str, Tensor], mask: Tensor | None = None
    ) -> Readings:
        """Of features by layer, as the encoder gives them, and a mask where they are padded."""
        vectors = [
            values.float() if values.ndim == 2 else patch_mean(values.float(), mask)
            for _, values in sorted(task.standardised(features).items())
        ]
        logits = task(features, mask).float()
        return cls(logits, torch.cat(vectors, dim=1), torch.zeros(0, dtype=torch.long))

    @classmethod
    @torch.inference_mode()
    def of_side(
        cls, task: ClassificationTask, cache: Path, side: str, at_most: int | None = None
    ) -> Readings:
        """Of the cached photos of one side of the split, without views.

        Args:
            task: In evaluation mode, on any device.
            cache: Folder of a finished feature cache.
            side: ``train``, ``val`` or ``test``.
            at_most: Photos that are enough; they are taken evenly over the side.
        """
        features = FeatureCache(cache)
        photos = CachedDataset(features, tuple(task.feature_shapes), features.indices(side))
        known = features.manifest.photos
        device = next(task.parameters()).device
        seen: list[Photo] = []
        step = 1 if at_most is None else -(-len(photos) // at_most)
        chosen = range(0, len(photos), max(1, step))
        parts = []
        for start in range(0, len(chosen), _BATCH):
            batch = photos.__getitems__(chosen[start : start + _BATCH])
            given = {name: values.to(device) for name, values in batch["features"].items()}
            mask = batch.get("mask")
            reading = cls.of(task, given, mask if mask is None else mask.to(device))
            parts.append((reading.logits.cpu(), reading.features.cpu(), batch["target"]))
            seen += [known[place] for place in batch["index"].tolist()]
        if not parts:
            none = torch.zeros(0)
            return cls(none, none, none.long())
        logits, read, target = (torch.cat(part) for part in zip(*parts, strict=True))
        files = [photo.path for photo in seen]
        return cls(logits, read, target, files, [photo.group or photo.path for photo in seen])
