"""Photos of any size to features, in windows where they are large."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lazarus_pl.encoder.engine import MOST_AT_ONCE
from lazarus_pl.encoder.sliding_windows import SlidingWindows

Features = Mapping[str, npt.NDArray[np.float16]]


class Encodes(Protocol):
    """What is needed of an :class:`~lazarus_pl.encoder.engine.Engine`."""

    @property
    def identity(self) -> dict[str, Any]:
        """Of the encoder, with ``image_size``."""
        ...

    @property
    def batch_size(self) -> int:
        """Photos that are best encoded at once."""
        ...

    def encode(self, photos: npt.NDArray[np.uint8]) -> Features:
        """Features by layer, one row a photo."""
        ...


def encode_photos(
    engine: Encodes, photos: Iterable[npt.NDArray[np.uint8]], overlap: float = 0.25
) -> Iterator[Features]:
    """Encodes photos in the engine's batches, which windows of several photos may share.

    Photos are drawn one by one, and the engine is given as many batches at once as 64 windows
    make, since a GPU is waited for after them: memory depends on one photo's size, not on their
    number.

    Args:
        engine: Runs the encoder.
        photos: Pixels ``(H, W, 3)`` each, as :func:`~lazarus_pl.data.decode.read_large` gives them.
        overlap: Share of a window that the next one covers too.

    Yields:
        Features of each photo by layer, as :meth:`SlidingWindows.join` gives them.
    """
    size = int(engine.identity["image_size"])
    at_once = max(1, MOST_AT_ONCE // engine.batch_size) * engine.batch_size
    begun: deque[SlidingWindows] = deque()
    encoded: list[Features] = []
    batch: list[npt.NDArray[np.uint8]] = []
    for pixels in photos:
        begun.append(SlidingWindows((pixels.shape[0], pixels.shape[1]), size, overlap))
        for window in begun[-1].cut(pixels):
            batch.append(window)
            if len(batch) == at_once:
                encoded += _encoded(engine, batch)
                batch = []
        yield from _whole(begun, encoded)
    if batch:
        encoded += _encoded(engine, batch)
    yield from _whole(begun, encoded)


class _Row(Mapping[str, npt.NDArray[np.float16]]):
    """One photo's part of a batch; what is not there yet is waited for when it is asked for."""

    def __init__(self, batch: Features, row: int) -> None:
        self._batch, self._row = batch, row

    def __getitem__(self, layer: str) -> npt.NDArray[np.float16]:
        values: npt.NDArray[np.float16] = self._batch[layer][self._row]
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch)

    def __len__(self) -> int:
        return len(self._batch)


def _encoded(engine: Encodes, batch: list[npt.NDArray[np.uint8]]) -> list[Features]:
    features = engine.encode(np.stack(batch))
    return [_Row(features, row) for row in range(len(batch))]


def _whole(begun: deque[SlidingWindows], encoded: list[Features]) -> Iterator[Features]:
    """Those photos whose windows are all encoded; takes them off both lists."""
    while begun and len(encoded) >= (count := len(begun[0].places)):
        windows = begun.popleft()
        yield windows.join(encoded[:count])
        del encoded[:count]
