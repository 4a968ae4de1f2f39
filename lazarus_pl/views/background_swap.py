"""Another background behind the leaf, as a transform beside torchvision's."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lazarus_pl.errors import LazarusError
from lazarus_pl.in_range import check_share
from lazarus_pl.leaf.background_swap import swap_background
from lazarus_pl.leaf.backgrounds.background_source import BackgroundSource
from lazarus_pl.leaf.backgrounds.folder_backgrounds import FolderBackgrounds
from lazarus_pl.leaf.backgrounds.mixed_backgrounds import MixedBackgrounds
from lazarus_pl.leaf.backgrounds.procedural_backgrounds import KINDS, ProceduralBackgrounds
from lazarus_pl.leaf.backgrounds.surrounding_backgrounds import SurroundingBackgrounds
from lazarus_pl.leaf.find_leaf import find_leaf
from lazarus_pl.leaf.leaf_mask import LeafMask
from lazarus_pl.views.layout import as_photo, as_tensor

_FOLDER, _SURROUNDINGS, _DRAWN = "folder", "surroundings", "drawn"
SOURCES = (_DRAWN, *KINDS, _SURROUNDINGS, _FOLDER)


class BackgroundSwap(nn.Module):
    """Lays the leaf on another background, where a confident mask tells it apart.

    Draws from torch's generator, as torchvision's transforms do.

    Args:
        p: Share of the photos that it is tried on.
        sources: How often each source is drawn from, relative to the others: ``drawn`` for all
            drawn kinds alike or each by its name, ``surroundings`` of other training photos,
            ``folder``; all drawn kinds by default, and the folder if one is given.
        folder: Photos of backgrounds.
        donors: Photos whose surroundings may be shown.

    Raises:
        LazarusError: If a source does not exist or has nothing to draw from.
    """

    def __init__(
        self,
        p: float = 0.5,
        sources: Mapping[str, float] | None = None,
        folder: Path | None = None,
        donors: Sequence[Path] = (),
    ) -> None:
        super().__init__()
        check_share("p", p)
        if sources is not None and not isinstance(sources, Mapping):
            raise LazarusError("sources need weights: {drawn: 2, surroundings: 1}")
        if sources and folder and _FOLDER not in sources:
            raise LazarusError(f"'{folder}' is never drawn from: add {_FOLDER} to the sources")
        weights = sources or {_DRAWN: 1.0, **({_FOLDER: 1.0} if folder else {})}
        self._p = p
        self._backgrounds = MixedBackgrounds(
            [(_source(name, folder, donors), weight) for name, weight in weights.items()]
        )
        self._last = _LastMask()

    def forward(self, pixels: Tensor) -> Tensor:
        """The photo, uint8 ``(3, H, W)``, before another background or as it was."""
        if torch.rand(()) >= self._p:
            return pixels
        photo = as_photo(pixels)
        leaf = self._last.mask(photo)
        if leaf is None:
            return pixels
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        background = self._backgrounds.draw(rng, photo.shape[:2])
        swapped = swap_background(photo, leaf, background, rng)
        return as_tensor(swapped)


class _LastMask(threading.local):
    """The mask of the photo that a thread saw last: its views come one after the other."""

    def __init__(self) -> None:
        self._digest = b""
        self._mask: LeafMask | None = None

    def mask(self, photo: npt.NDArray[np.uint8]) -> LeafMask | None:
        digest = hashlib.blake2b(photo.data).digest()
        if digest != self._digest:
            self._mask = find_leaf(photo)
            self._digest = digest
        return self._mask


def _source(name: str, folder: Path | None, donors: Sequence[Path]) -> BackgroundSource:
    if name == _DRAWN:
        return ProceduralBackgrounds()
    if name in KINDS:
        return ProceduralBackgrounds({name: 1.0})
    if name == _SURROUNDINGS:
        return SurroundingBackgrounds(donors)
    if name != _FOLDER:
        raise LazarusError(
            f"there is no source of backgrounds '{name}': there are {', '.join(SOURCES)}"
        )
    if folder is None:
        raise LazarusError("the source 'folder' needs the argument folder: name one")
    return FolderBackgrounds(folder)
