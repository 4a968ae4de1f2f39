"""An order of photos that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Shuffles anew in every epoch, the same way in every run and after every resume.

    The trainer calls :meth:`set_epoch`; nothing else draws from this generator, so a sanity check
    or a callback cannot shift the order.

    Args:
        size: Number of items.
        seed: Of the run.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size = size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Number of items."""
        return self._size

    def __iter__(self) -> Iterator[int]:
        """The order of the epoch."""
        generator = torch.Generator()
        generator.manual_seed(self._seed * 1_000_003 + self._epoch)
        return iter(torch.randperm(self._size, generator=generator).tolist())
