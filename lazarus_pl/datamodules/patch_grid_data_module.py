"""The DataModule over the grids of a feature cache."""

from __future__ import annotations

from lazarus_pl.data.split.split_spec import Side
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.datamodules.epoch_sampler import EpochSampler
from lazarus_pl.datamodules.size_bucket_sampler import SizeBucketSampler
from lazarus_pl.errors import LazarusError


class PatchGridDataModule(CachedFeatureDataModule):
    """Feeds heads that read patches, of photos as a whole or in sliding windows.

    Grids are mapped, not held in memory. Those of large photos differ in size: a batch pads them
    and says with a mask where patches are. In training, photos of like size share batches, so that
    little is padded; which ones do is drawn anew in every epoch.

    Args:
        cache: Folder of a finished feature cache.
        layers: Grids that a batch holds: ``grid32``, ``grid16``.
        batch_size: Photos a batch (a device).
        num_workers: Worker processes; 0 is fastest unless grids come from a slow disk.
        seed: Order of the training photos.
        train_on: As in :class:`CachedFeatureDataModule`.

    Raises:
        LazarusError: If the cache is missing, unfinished, or lacks a layer, or a layer is no grid.
    """

    def __init__(
        self,
        cache: str,
        layers: tuple[str, ...] = ("grid16", "grid32"),
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        train_on: tuple[Side, ...] = ("train",),
    ) -> None:
        super().__init__(cache, layers, batch_size, num_workers, seed, train_on=train_on)
        for layer in self.layers:
            if len(self.feature_shapes[layer]) != 3:
                raise LazarusError(
                    f"PatchGridDataModule reads grids, '{layer}' is none: set "
                    "data.init_args.layers to [grid16, grid32], or use CachedFeatureDataModule"
                )

    def _sampler(self) -> EpochSampler:
        sizes = self._features.sizes[self._trained_on]
        return SizeBucketSampler(sizes, self.batch_size, self.seed)
