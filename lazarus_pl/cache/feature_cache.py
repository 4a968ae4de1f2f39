"""The features of a dataset, mapped from a finished cache."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import chain, repeat
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.find_digests import Digests, find_digests, pack_digests
from lazarus_pl.cache.mapped_jobs import MappedJobs
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.encoder.encoder_spec import LAYERS
from lazarus_pl.errors import LazarusError


class FeatureCache:
    """Reads features of photos by their place in the manifest.

    Files are mapped when they are first needed, so opening is cheap and memory is the system's
    page cache. An instance can be sent to another process: it maps anew there.

    Args:
        folder: The cache's folder.

    Raises:
        LazarusError: If the folder holds no cache, or an unfinished or damaged one.

    Attributes:
        header: What the cache is a cache of.
        manifest: The photos that have features.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.header = CacheHeader.read(self.folder)
        self.manifest = Manifest.read(self.folder)
        self._jobs = MappedJobs(self.folder, self.header.key, self.way_out)
        self._places = self._locate()

    @property
    def way_out(self) -> str:
        """The command that finishes or mends this cache."""
        words = f"lazarus extract --data {self.header.data} --out {self.folder}"
        windows = self.header.windows
        if windows.count == 1:
            return words
        return f"{words} --windows.count {windows.count} --windows.overlap {windows.overlap:g}"

    @property
    def feature_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one photo's features by layer: ``(C,)`` or ``(H, W, C)``.

        Of ragged layers, that of a photo of one window.
        """
        return dict(self.header.layers)

    @property
    def encoder(self) -> dict[str, Any]:
        """The identity of the encoder that made the features, with ``windows`` if there are any."""
        windows = self.header.windows
        read = {} if windows.count == 1 else {"windows": asdict(windows)}
        return {**self.header.encoder, **read}

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Pixels at which every photo in the manifest was read."""
        size, windows = int(self.header.encoder["image_size"]), self.header.windows
        widths, heights = (map(int, self.manifest.column(name)) for name in ("width", "height"))
        shapes = (windows.over(*sides, size).shape for sides in zip(widths, heights, strict=True))
        return np.fromiter(map(prod, shapes), np.int64, len(self.manifest.photos))

    def is_ragged(self, layer: str) -> bool:
        """Whether photos have grids of different sizes in a layer."""
        return self.header.windows.count > 1 and len(self.header.layers[layer]) == 3

    def indices(self, split: str) -> npt.NDArray[np.intp]:
        """Places in the manifest of the photos of one side."""
        return self.manifest.indices(split)

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Class index of every photo in the manifest."""
        return self.manifest.targets

    def gather(
        self, layer: str, indices: Sequence[int] | npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float16]:
        """Copies the features of some photos out of the mapped files.

        Args:
            layer: ``pooled``, ``grid32`` or ``grid16``, if the cache keeps it.
            indices: Places in the manifest.

        Returns:
            float16 of shape ``(len(indices), *feature_shapes[layer])``.

        Raises:
            LazarusError: If the cache does not keep the layer, it is ragged, or a file was damaged
                meanwhile.
        """
        self.check_layers([layer])
        if self.is_ragged(layer):
            raise LazarusError(
                f"the cache '{self.folder}' holds grids {self.header.windows}, which differ in "
                "size: use one of whole photos here, extracted without --windows.count"
            )
        places = self._places[np.asarray(indices, dtype=np.intp)]
        return self._jobs.gather(layer, self.header.layers[layer], places)

    def grids(
        self, layer: str, indices: Sequence[int] | npt.NDArray[np.intp]
    ) -> list[npt.NDArray[np.float16]]:
        """The grids of some photos in the mapped files, not copied.

        Args:
            layer: ``grid32`` or ``grid16``, if the cache keeps it.
            indices: Places in the manifest.

        Returns:
            float16 ``(H, W, C)`` each.

        Raises:
            LazarusError: If the cache does not keep the layer, or a file was damaged meanwhile.
        """
        self.check_layers([layer])
        return self._jobs.grids(layer, self._places[np.asarray(indices, dtype=np.intp)])

    def cells(
        self, layer: str, indices: Sequence[int] | npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float16]:
        """Copies all vectors ``(n, C)`` of some photos: one of each photo, or of each cell.

        Raises:
            LazarusError: If the cache does not keep the layer, or a file was damaged meanwhile.
        """
        channels = self.header.layers[layer][-1]
        if not self.is_ragged(layer):
            return self.gather(layer, indices).reshape(-1, channels)
        return np.concatenate([grid.reshape(-1, channels) for grid in self.grids(layer, indices)])

    def check_layers(self, layers: Sequence[str]) -> None:
        """Makes sure that the cache keeps some layers.

        Raises:
            LazarusError: If it does not.
        """
        for layer in layers:
            if layer not in LAYERS:
                raise LazarusError(f"there is no layer '{layer}': there are {', '.join(LAYERS)}")
            if layer not in self.header.layers:
                raise LazarusError(
                    f"the cache '{self.folder}' keeps no layer '{layer}', only "
                    f"{', '.join(self.header.layers)}: extract into another folder with "
                    f"--encoder.layers including {layer}"
                )

    def _locate(self) -> npt.NDArray[np.int32]:
        """Job and row of every photo; drops those that could not be decoded."""
        photos = pack_digests(self.manifest.column("sha256"))
        digests, places, failed = self._done()
        kept = np.flatnonzero(find_digests(photos, failed) < 0)
        found = find_digests(photos[kept], digests)
        missing = np.count_nonzero(found < 0)
        if missing:
            raise LazarusError(
                f"the cache '{self.folder}' is unfinished: {missing} of {len(kept)} photos have "
                f"no features yet; run {self.way_out} again, it continues where it stopped"
            )
        if len(kept) < len(photos):
            self.manifest = self.manifest.take(kept)
        return places[found]

    def _done(self) -> tuple[Digests, npt.NDArray[np.int32], Digests]:
        """Digests, jobs and rows of photos that have features, and digests of those that failed."""
        digests = [pack_digests(())]
        places = array("i")
        failed: list[str] = []
        for number, rows, state in self._jobs.done():
            plain = [row for row, (_, view) in enumerate(rows) if not view]
            bad = [row for row in plain if row in state.failed and row not in state.gone]
            good = [row for row in plain if row not in state.failed and row not in state.gone]
            failed += [rows[row].sha256 for row in bad]
            digests.append(pack_digests([rows[row].sha256 for row in good]))
            places.extend(chain.from_iterable(zip(repeat(number), good, strict=False)))
        pairs = np.array(places, dtype=np.int32).reshape(-1, 2)
        return np.concatenate(digests), pairs, pack_digests(failed)
