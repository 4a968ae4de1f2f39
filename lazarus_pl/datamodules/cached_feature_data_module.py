"""The DataModule over a feature cache."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader, Sampler, SequentialSampler, default_convert

from lazarus_pl.cache.cached_views import CachedViews
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.data.split.split_spec import Side
from lazarus_pl.datamodules.cached_dataset import Batch, CachedDataset
from lazarus_pl.datamodules.epoch_sampler import EpochSampler
from lazarus_pl.errors import LazarusError

# enough photos for the mean and the deviation of every channel
_PHOTOS_FOR_STATISTICS = 2048


class CachedFeatureDataModule(LightningDataModule):
    """Feeds heads with the features that ``lazarus extract`` made.

    With views, every training photo is seen once an epoch, plain or in one of its views; which one
    depends on the seed and the epoch alone.

    What a model must know of the data (classes, shapes, encoder) are properties that are there
    before ``setup``, so that LightningCLI can link them.

    Args:
        cache: Folder of a finished feature cache.
        layers: Layers that a batch holds: ``pooled``, ``grid32``, ``grid16``.
        batch_size: Photos a batch (a device).
        num_workers: Worker processes; 0 is fastest unless grids come from a slow disk.
        seed: Order of the training photos, and which view of each is seen.
        views: How many augmented views of each training photo take part: 0, a number, or ``all``.
        views_policy: Whose views, where the cache has those of several policies: a policy's name,
            its file, or the beginning of its folder's name.
        plain_weight: Chance that a photo is seen plain; null takes that of any one view.
        train_on: Sides of the split whose photos are trained on. Scores of a side that was trained
            on say nothing of other photos.

    Raises:
        LazarusError: If the cache is missing, unfinished, or lacks a layer or views.
    """

    def __init__(
        self,
        cache: str,
        layers: tuple[str, ...] = ("pooled",),
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        views: int | Literal["all"] = 0,
        views_policy: str | None = None,
        plain_weight: float | None = None,
        train_on: tuple[Side, ...] = ("train",),
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise LazarusError(f"batch_size {batch_size} must be at least 1")
        if views != "all" and views < 0:
            raise LazarusError(f"views {views} must be 0, a number, or all")
        if num_workers < 0:
            raise LazarusError(f"num_workers {num_workers} must be at least 0")
        if not layers:
            raise LazarusError("layers names none: give [pooled], or layers of the cache")
        self.cache = cache
        self.layers = tuple(layers)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.views = views
        self.views_policy = views_policy
        self.plain_weight = plain_weight
        self.train_on = tuple(train_on)
        if not train_on:
            raise LazarusError("train_on names no side of the split: give [train]")
        self._features.check_layers(self.layers)
        # now, not when training starts
        self._sampler()

    @cached_property
    def _features(self) -> FeatureCache:
        return FeatureCache(Path(self.cache))

    @cached_property
    def _views(self) -> CachedViews | None:
        if self.views == 0:
            return None
        count = None if self.views == "all" else self.views
        return CachedViews(self._features, self.views_policy, count, self.train_on)

    @cached_property
    def _trained_on(self) -> npt.NDArray[np.intp]:
        """Places in the manifest of the photos that are trained on, ascending."""
        return np.unique(np.concatenate([self._features.indices(side) for side in self.train_on]))

    @property
    def class_names(self) -> list[str]:
        """Names of the classes in the order of their indices."""
        return list(self._features.manifest.class_names)

    @property
    def item_names(self) -> list[str]:
        """Path of every photo by its place in the manifest, which batches call its index."""
        return list(self._features.manifest.column("path"))

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self._features.manifest.num_classes

    @property
    def class_counts(self) -> list[int]:
        """Training photos of each class."""
        targets = self._features.targets[self._trained_on]
        return [int(count) for count in np.bincount(targets, minlength=self.num_classes)]

    @property
    def feature_shapes(self) -> dict[str, list[int]]:
        """Shape of one photo's features by layer, for the layers in use."""
        shapes = self._features.feature_shapes
        return {layer: list(shapes[layer]) for layer in self.layers}

    @property
    def encoder(self) -> dict[str, Any]:
        """The identity of the encoder that made the features."""
        return self._features.encoder

    @property
    def data_digest(self) -> str:
        """Digest of all photos with their labels and sides: other data, another digest."""
        column = self._features.manifest.column
        rows = zip(column("sha256"), column("split"), column("label"), strict=True)
        return hashlib.sha256("\n".join(map(" ".join, rows)).encode()).hexdigest()

    @property
    def has_test(self) -> bool:
        """Whether the split has test photos."""
        return len(self._features.indices("test")) > 0

    @property
    def feature_statistics(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Mean and standard deviation of every channel over training photos, ``(C,)`` each.

        Of the plain photos, whatever views take part: those are what will be classified, and a
        checkpoint means the same with any number of views.
        """
        indices = self._trained_on
        step = max(1, len(indices) // _PHOTOS_FOR_STATISTICS)
        statistics = {}
        for layer in self.layers:
            total, squares, count = 0.0, 0.0, 0
            for chunk in np.array_split(indices[::step], max(1, len(indices) // (64 * step))):
                values = self._features.cells(layer, chunk).astype(np.float32)
                total = total + values.sum(0, dtype=np.float64)
                squares = squares + np.square(values).sum(0, dtype=np.float64)
                count += len(values)
            mean = total / count
            deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
            statistics[layer] = (
                torch.as_tensor(mean, dtype=torch.float32),
                torch.as_tensor(deviation, dtype=torch.float32),
            )
        return statistics

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training photos, each plain or in a view, shuffled by seed and epoch."""
        dataset = CachedDataset(self._features, self.layers, self._trained_on, self._views)
        return self._loader(dataset, self._sampler())

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation photos in the manifest's order."""
        dataset = CachedDataset(self._features, self.layers, self._features.indices("val"))
        return self._loader(dataset, self._in_order(dataset))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test photos in the manifest's order.

        Raises:
            LazarusError: If the split has no test photos.
        """
        if not self.has_test:
            raise LazarusError(
                f"the split of '{self.cache}' has no test photos: extract with "
                "--split.fractions that leave some"
            )
        dataset = CachedDataset(self._features, self.layers, self._features.indices("test"))
        return self._loader(dataset, self._in_order(dataset))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The same as :meth:`test_dataloader`."""
        return self.test_dataloader()

    def _in_order(self, dataset: CachedDataset) -> Sampler[int]:
        """Every photo once: what Lightning would do repeats some for devices with fewer."""
        trainer = self.trainer
        if trainer is None or not 1 < trainer.world_size <= len(dataset):
            return SequentialSampler(dataset)
        sampler: Sampler[int] = UnrepeatedDistributedSampler(
            dataset, trainer.world_size, trainer.global_rank, shuffle=False
        )
        return sampler

    def _sampler(self) -> EpochSampler:
        views = self._views.count if self._views else 0
        return EpochSampler(len(self._trained_on), self.seed, views, self.plain_weight)

    def _loader(self, dataset: CachedDataset, sampler: Sampler[int]) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=default_convert,
            # else every epoch would draw from the generator that dropout draws from
            generator=torch.Generator(),
            persistent_workers=self.num_workers > 0,
            multiprocessing_context="spawn" if self.num_workers else None,
        )
