"""Photos of any size to features, in windows where they are large."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from lazarus_pl.encoder.engine import MOST_AT_ONCE, Engine
from lazarus_pl.encoder.sliding_windows import SlidingWindows

Features = dict[str, npt.NDArray[np.float16]]


def encode_photos(
    engine: Engine, photos: Iterable[npt.NDArray[np.uint8]], overlap: float = 0.25
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


def _encoded(engine: Engine, batch: list[npt.NDArray[np.uint8]]) -> Iterator[Features]:
    layers = engine.encode(np.stack(batch))
    for row in range(len(batch)):
        yield {name: values[row] for name, values in layers.items()}


def _whole(begun: deque[SlidingWindows], encoded: list[Features]) -> Iterator[Features]:
    """Those photos whose windows are all encoded; takes them off both lists."""
    while begun and len(encoded) >= (count := len(begun[0].places)):
        windows = begun.popleft()
        yield windows.join(encoded[:count])
        del encoded[:count]
