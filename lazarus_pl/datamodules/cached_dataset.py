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

# pooled features of so many bytes are held in memory
_RESIDENT = 1 << 30


class Batch(TypedDict):
    """What tasks are given.

    Attributes:
        features: float16 by layer: ``pooled`` ``(B, C)``, grids ``(B, H, W, C)``.
        target: Class indices, ``(B,)``.
        index: Places in the cache's manifest, ``(B,)``.
    """

    features: dict[str, Tensor]
    target: Tensor
    index: Tensor


class CachedDataset(Dataset[Batch]):
    """The photos of one side of a split, and behind them their views.

    An item is ``photo + photos * view``, with view 0 for the plain photo.

    Pooled features are small and held in memory unless many views make them large; grids are
    copied out of the mapped files when they are asked for.

    Args:
        cache: Where the features come from.
        layers: Which of them a batch holds.
        split: ``train``, ``val`` or ``test``.
        views: Augmented views; only training photos have any.
    """

    def __init__(
        self,
        cache: FeatureCache,
        layers: Sequence[str],
        split: str,
        views: CachedViews | None = None,
    ) -> None:
        cache.check_layers(layers)
        self._cache = cache
        self._views = views
        self._layers = tuple(layers)
        self.indices: npt.NDArray[np.intp] = cache.indices(split)
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
        return Batch(
            features={layer: self._features(layer, chosen) for layer in self._layers},
            target=self._targets[photos],
            index=torch.from_numpy(self.indices)[photos],
        )

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
