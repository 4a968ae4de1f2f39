"""Cached features as a map-style dataset that is read a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lazarus_pl.cache.feature_cache import FeatureCache


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
    """The photos of one side of a split.

    Pooled features are small and held in memory; grids are copied out of the mapped files when
    they are asked for.

    Args:
        cache: Where the features come from.
        layers: Which of them a batch holds.
        split: ``train``, ``val`` or ``test``.
    """

    def __init__(self, cache: FeatureCache, layers: Sequence[str], split: str) -> None:
        cache.check_layers(layers)
        self._cache = cache
        self._layers = tuple(layers)
        self.indices: npt.NDArray[np.intp] = cache.indices(split)
        self._targets = torch.from_numpy(cache.targets[self.indices])
        self._resident = {
            layer: torch.from_numpy(cache.gather(layer, self.indices))
            for layer in self._layers
            if len(cache.feature_shapes[layer]) == 1
        }

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.indices)

    def __getitem__(self, place: int) -> Batch:
        """A batch of one photo."""
        return self.__getitems__([place])

    def __getitems__(self, places: Sequence[int]) -> Batch:
        """A batch of photos by their places on this side."""
        chosen = torch.as_tensor(places)
        return Batch(
            features={layer: self._features(layer, chosen) for layer in self._layers},
            target=self._targets[chosen],
            index=torch.from_numpy(self.indices)[chosen],
        )

    def _features(self, layer: str, chosen: Tensor) -> Tensor:
        if layer in self._resident:
            return self._resident[layer][chosen]
        return torch.from_numpy(self._cache.gather(layer, self.indices[chosen.numpy()]))
