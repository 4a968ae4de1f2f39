"""Drawn leaves: a small dataset that needs no download and whose truth is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.procedural.leaf_blade import LeafBlade
from lazarus_pl.data.procedural.photograph import Photograph, photograph
from lazarus_pl.data.procedural.symptoms import SYMPTOMS
from lazarus_pl.errors import LazarusError
from lazarus_pl.progress import Progress

LEAVES = {
    "healthy": 40,
    "bacterial_spot": 28,
    "early_blight": 24,
    "late_blight": 20,
    "rust": 17,
    "powdery_mildew": 14,
    "mosaic": 11,
}

_COLUMNS = ("path", "label", "leaf", "mask", "seed", "size")
_TABLE = "leaves.csv"


@dataclass(frozen=True)
class Shot:
    """One photo to be drawn.

    Attributes:
        label: Its class.
        leaf: Number of the leaf within its class, from 1.
        number: Number of the photo of that leaf, from 1.
    """

    label: str
    leaf: int
    number: int

    @property
    def stem(self) -> str:
        """Path without suffix: photos of one leaf carry its number and count on."""
        return f"{self.label}/leaf {self.leaf:04d}.{self.number}"


class ProceduralLeaves:
    """Leaves with veins, light and background, in seven classes, with a mask of their symptoms.

    Each photo is determined by the seed and its place alone, so any part can be drawn anywhere in
    any order.

    Args:
        leaves: Number of leaves by class; classes as in :data:`SYMPTOMS`. Imbalanced by default,
            as collections are.
        photos_per_leaf: Fewest and most photos of one leaf.
        size: Side of a photo in pixels.
        seed: Another seed gives other leaves.

    Raises:
        LazarusError: If a class does not exist.

    Attributes:
        shots: All photos, in order.
    """

    def __init__(
        self,
        leaves: Mapping[str, int] | None = None,
        photos_per_leaf: tuple[int, int] = (3, 5),
        size: int = 256,
        seed: int = 0,
    ) -> None:
        leaves = LEAVES if leaves is None else leaves
        for label in leaves:
            if label not in SYMPTOMS:
                raise LazarusError(
                    f"there are no drawn leaves of class '{label}': choose from "
                    f"{', '.join(SYMPTOMS)}"
                )
        self.size = size
        self.seed = seed
        fewest, most = photos_per_leaf
        self.shots = [
            Shot(label, leaf, number)
            for label, count in leaves.items()
            for leaf in range(1, count + 1)
            for number in range(1, self._rng(label, leaf).integers(fewest, most + 1) + 1)
        ]

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.shots)

    def draw(self, index: int) -> Photograph:
        """Draws one photo."""
        shot = self.shots[index]
        leaf = _grown(self.seed, shot.label, shot.leaf)
        return photograph(leaf, self._rng(shot.label, shot.leaf, shot.number), self.size)

    def write(self, folder: Path) -> Path:
        """Writes all photos and masks, and ``leaves.csv`` that says which leaf each shows.

        A killed call continues: files that are there are left as they are.

        Args:
            folder: Gets ``photos/<class>/leaf 0001.1.jpg`` and ``masks/<class>/leaf 0001.1.png``.

        Returns:
            The folder of the photos.

        Raises:
            LazarusError: If the folder holds leaves that were drawn with other settings.
        """
        table = folder / _TABLE
        if table.exists() and table.read_text(encoding="utf-8") != self._table():
            raise LazarusError(
                f"'{folder}' holds leaves that were drawn with other settings: name another "
                "folder with --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with replace_file(table) as file:
            file.write(self._table().encode())
        missing = [index for index in range(len(self)) if not self._is_drawn(index, folder)]
        if missing:
            self._draw(missing, folder)
        return folder / "photos"

    def _draw(self, indices: Sequence[int], folder: Path) -> None:
        for label in dict.fromkeys(shot.label for shot in self.shots):
            for kind in ("photos", "masks"):
                (folder / kind / label).mkdir(parents=True, exist_ok=True)
        with Progress("drawing", len(indices), "photos") as progress:
            for _ in ordered_map(lambda index: self._write(index, folder), indices):
                progress.advance()

    def _is_drawn(self, index: int, folder: Path) -> bool:
        """Whether the mask is there, which is written after the photo."""
        return (folder / "masks" / f"{self.shots[index].stem}.png").exists()

    def _write(self, index: int, folder: Path) -> None:
        stem = self.shots[index].stem
        drawn = self.draw(index)
        mask = Image.fromarray(drawn.lesions.astype(np.uint8) * 255)
        with replace_file(folder / "photos" / f"{stem}.jpg") as file:
            Image.fromarray(drawn.pixels).save(file, "JPEG", quality=92)
        with replace_file(folder / "masks" / f"{stem}.png") as file:
            mask.save(file, "PNG")

    def _table(self) -> str:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for shot in self.shots:
            writer.writerow(
                (
                    f"photos/{shot.stem}.jpg",
                    shot.label,
                    f"{shot.label}/{shot.leaf}",
                    f"masks/{shot.stem}.png",
                    self.seed,
                    self.size,
                )
            )
        return text.getvalue()

    def _rng(self, *place: str | int) -> np.random.Generator:
        return _rng(self.seed, *place)


def _rng(seed: int, *place: str | int) -> np.random.Generator:
    """A generator of its own for every place, the same on every machine."""
    numbers = [
        int.from_bytes(part.encode(), "little") if isinstance(part, str) else part for part in place
    ]
    return np.random.default_rng([seed, *numbers])


@lru_cache(maxsize=8)
def _grown(seed: int, label: str, number: int) -> LeafBlade:
    rng = _rng(seed, label, number)
    leaf = LeafBlade.grow(rng, crinkle=rng.uniform(0.3, 1) if label == "mosaic" else 0)
    SYMPTOMS[label](leaf, rng)
    return leaf
