"""An order of photos in which those of like size follow each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from lazarus_pl.datamodules.epoch_sampler import EpochSampler

# in a pool of so many batches sizes are sorted: larger ones pad less and mix less
_BATCHES = 8


class SizeBucketSampler(EpochSampler):
    """Shuffles as an :class:`EpochSampler`, and then makes batches of photos of like size.

    The epoch's order is cut into pools of a few batches. Each pool is sorted by size and cut into
    batches, and all batches are shuffled; one that is not full comes last.

    Args:
        sizes: How large each photo is, ``(N,)``.
        batch_size: Photos a batch.
        seed: Of the run.
    """

    def __init__(self, sizes: npt.NDArray[np.int64], batch_size: int, seed: int = 0) -> None:
        super().__init__(len(sizes), seed)
        self._sizes = sizes
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[int]:
        """The order of the epoch, each photo once."""
        order = np.array(list(super().__iter__()), dtype=np.int64)
        pools = range(0, len(order), _BATCHES * self._batch_size)
        batches = [
            batch
            for start in pools
            for batch in self._batches(order[start : start + _BATCHES * self._batch_size])
        ]
        full = len(order) // self._batch_size
        drawn = torch.randperm(full, generator=self._generator()).tolist()
        chosen = [batches[place] for place in [*drawn, *range(full, len(batches))]]
        return iter([int(photo) for batch in chosen for photo in batch])

    def _batches(self, pool: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        pool = pool[np.argsort(self._sizes[pool], kind="stable")]
        for start in range(0, len(pool), self._batch_size):
            yield pool[start : start + self._batch_size]
