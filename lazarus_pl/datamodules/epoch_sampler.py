"""An order of photos, and a view of each, that depend on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from lazarus_pl.in_range import check_share


class EpochSampler(Sampler[int]):
    """Shuffles anew in every epoch, the same way in every run and after every resume.

    A run that is continued in the middle of an epoch takes what is left of it from the beginning of
    its order: Lightning begins a loader without a state anew.

    The trainer calls :meth:`set_epoch`; nothing else draws from this generator, so a sanity check
    or a callback cannot shift the order. Which view of a photo is seen is drawn here too, not where
    the features are read: so it is the same with worker processes and on many devices.

    Args:
        size: Number of photos.
        seed: Of the run.
        views: Augmented views of each photo.
        plain_weight: Chance that a photo is seen plain; None takes that of any one view.

    Raises:
        LazarusError: If the chance is not one.
    """

    def __init__(
        self, size: int, seed: int = 0, views: int = 0, plain_weight: float | None = None
    ) -> None:
        if plain_weight is not None:
            check_share("plain_weight", plain_weight)
        self._size = size
        self._seed = seed
        self._views = views
        self._plain_weight = 1 / (1 + views) if plain_weight is None else plain_weight
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Number of photos."""
        return self._size

    def __iter__(self) -> Iterator[int]:
        """The order of the epoch: ``photo + size * view``, each photo once."""
        generator = self._generator()
        order = torch.randperm(self._size, generator=generator)
        if self._views:
            order = order + self._size * self._drawn(generator)
        return iter(order.tolist())

    def _generator(self) -> torch.Generator:
        """Of the seed and the epoch."""
        generator = torch.Generator()
        generator.manual_seed(self._seed * 1_000_003 + self._epoch)
        return generator

    def _drawn(self, generator: torch.Generator) -> Tensor:
        """A view for each photo, 0 for the plain one."""
        views = torch.randint(1, self._views + 1, (self._size,), generator=generator)
        plain = torch.rand(self._size, generator=generator) < self._plain_weight
        return views.masked_fill(plain, 0)
