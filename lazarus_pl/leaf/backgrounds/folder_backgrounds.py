"""Backgrounds from photos that the user keeps in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.decode import SUFFIXES, PhotoError
from lazarus_pl.errors import LazarusError
from lazarus_pl.leaf.backgrounds.framed import framed
from lazarus_pl.leaf.backgrounds.reduced import reduced
from lazarus_pl.leaf.find_leaf import find_leaf
from lazarus_pl.leaf.surroundings import surroundings

_TRIES = 16


class FolderBackgrounds:
    """Random parts of the photos in a folder and its subfolders.

    A photo in which a leaf stands out loses it (:func:`surroundings`). Leaves among leaves cannot
    be told: the folder should hold none.

    Args:
        folder: Photos without leaves: soil, mulch, hands, tables, sky.

    Raises:
        LazarusError: If there is no such folder, or it holds no photo.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise LazarusError(f"'{folder}' is no folder: give a folder of photos of backgrounds")
        self.folder = folder
        self.paths = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not self.paths:
            raise LazarusError(
                f"'{folder}' holds no photo (JPEG, PNG, WebP, BMP or TIFF): put photos of "
                "backgrounds there"
            )

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """A part of one of the photos.

        Args:
            rng: Determines which.
            shape: Rows and columns.

        Returns:
            RGB pixels ``(H, W, 3)``.

        Raises:
            LazarusError: If photo after photo cannot be used.
        """
        reason = ""
        for _ in range(_TRIES):
            path = self.paths[int(rng.integers(len(self.paths)))]
            try:
                photo = reduced(path, 2 * max(shape))
            except PhotoError as error:
                reason = f"'{path.name}' {error}"
                continue
            leaf = find_leaf(photo)
            without = photo if leaf is None else surroundings(photo, leaf)
            if without is not None:
                return framed(without, rng, shape)
            reason = f"'{path.name}' is filled by a leaf"
        raise LazarusError(
            f"{_TRIES} photos of '{self.folder}' in a row cannot be backgrounds ({reason}): remove "
            "such photos"
        )
