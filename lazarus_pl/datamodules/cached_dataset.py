"""Cached features as a map-style dataset that is read a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lazarus_pl.cache.cached_views import CachedViews
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.datamodules.pad_grids import pad_grids

# pooled features of so many bytes are held in memory
_RESIDENT = 1 << 30


class _Batch(TypedDict):
    features: dict[str, Tensor]
    target: Tensor
    index: Tensor


class Batch(_Batch, total=False):
    """What tasks are given.

    Attributes:
        features: float16 by layer: ``pooled`` ``(B, C)``, grids ``(B, H, W, C)``.
        target: Class indices, ``(B,)``.
        index: Places in the cache's manifest, ``(B,)``.
        mask: bool ``(B, H, W)`` of the finest grid, True where there is a patch; only in a batch
            of photos whose grids differ in size.
    """

    mask: Tensor


class CachedDataset(Dataset[Batch]):
    """Some photos of a cache, and behind them their views.

    An item is ``photo + photos * view``, with view 0 for the plain photo.

    Pooled features are small and held in memory unless many views make them large; grids are
    copied out of the mapped files when they are asked for, and padded where they differ in size.

    Args:
        cache: Where the features come from.
        layers: Which of them a batch holds.
        indices: Places of the photos in the manifest.
        views: Augmented views of the photos.
    """

    def __init__(
        self,
        cache: FeatureCache,
        layers: Sequence[str],
        indices: npt.NDArray[np.intp],
        views: CachedViews | None = None,
    ) -> None:
        cache.check_layers(layers)
        self._cache = cache
        self._views = views
        self._layers = tuple(layers)
        self._ragged = [layer for layer in self._layers if cache.is_ragged(layer)]
        self.indices = indices
        self._targets = torch.from_numpy(cache.targets[self.indices])
        self._resident = {
            layer: self._gathered(layer, np.arange(len(self)))
            for layer in self._layers
            if self._fits(cache.feature_shapes[layer])
        }

    def __len__(self) -> int:
        """Number of photos and of their views."""
        return len(self.indices) * (1 + (self._views.count if self._views else 0))

    def __getitem__(self, item: int) -> Batch:
        """A batch of one."""
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[int]) -> Batch:
        """A batch of photos or views."""
        chosen = torch.as_tensor(items)
        photos = chosen % max(1, len(self.indices))
        alike = [layer for layer in self._layers if layer not in self._ragged]
        batch = Batch(
            features={layer: self._features(layer, chosen) for layer in alike},
            target=self._targets[photos],
            index=torch.from_numpy(self.indices)[photos],
        )
        return self._with_grids(batch, photos.numpy()) if self._ragged else batch

    def _with_grids(self, batch: Batch, photos: npt.NDArray[np.integer]) -> Batch:
        """Adds the layers whose grids differ in size, and a mask if they do here."""
        places = self.indices[photos]
        grids, mask = pad_grids({layer: self._cache.grids(layer, places) for layer in self._ragged})
        batch["features"] |= grids
        return batch if mask is None else {**batch, "mask": mask}

    def _features(self, layer: str, chosen: Tensor) -> Tensor:
        if layer in self._resident:
            return self._resident[layer][chosen]
        return self._gathered(layer, chosen.numpy())

    def _gathered(self, layer: str, items: npt.NDArray[np.integer]) -> Tensor:
        views, photos = np.divmod(items, max(1, len(self.indices)))
        places = self.indices[photos]
        if self._views is None:
            return torch.from_numpy(self._cache.gather(layer, places))
        return torch.from_numpy(self._views.gather(layer, places, views))

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 1 and 2 * shape[0] * len(self) <= _RESIDENT
