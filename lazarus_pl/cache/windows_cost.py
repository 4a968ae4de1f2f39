"""What photos in windows will cost, before any is extracted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.say_cost import say_cost
from lazarus_pl.data.decode import PhotoError, read_bytes
from lazarus_pl.data.photo import Photo
from lazarus_pl.encoder.engine import Engine
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.usable_cores import usable_cores

_FLOAT16_BYTES = 2
_DECODED = 4


def windows_cost(root: Path, photos: Sequence[Photo], spec: WindowsSpec, engine: Engine) -> str:
    """Says how many windows there are, and what they need on the disk and in time.

    Windows and room follow from the photos' sizes; the time is that of a few photos, which are
    decoded, and of one batch of their windows.

    Args:
        root: What the photos' paths are relative to.
        photos: Those that are left to extract.
        spec: How large photos are read.
        engine: Runs the encoder.
    """
    size = int(engine.identity["image_size"])
    read = [spec.over(photo.width, photo.height, size) for photo in photos]
    count = sum(len(windows.places) for windows in read)
    values = sum(windows.values(engine.layer_shapes.values()) for windows in read)
    decoding, encoding = _seconds(root, photos, spec, engine)
    seconds = count * encoding + len(photos) * decoding / usable_cores()
    cost = say_cost(values * _FLOAT16_BYTES / 1e6, seconds)
    return f"{len(photos)} photos, {count:,} windows of {size} pixels: {cost}"


def _seconds(
    root: Path, photos: Sequence[Photo], spec: WindowsSpec, engine: Engine
) -> tuple[float, float]:
    """Time to decode a photo, and to encode a window."""
    size, kind = int(engine.identity["image_size"]), engine.identity["interpolation"]
    batch: list[npt.NDArray[np.uint8]] = []
    decoding: list[float] = []
    for photo in photos[:: max(1, len(photos) // _DECODED)][:_DECODED]:
        started = time.perf_counter()
        try:
            data = read_bytes(root / photo.path)
            pixels = spec.read(data, size, kind)
        except PhotoError:
            continue
        decoding.append(time.perf_counter() - started)
        windows = spec.over(pixels.shape[1], pixels.shape[0], size).cut(pixels)
        # copies: a view would keep the whole photo
        batch += [window.copy() for window in islice(windows, engine.batch_size - len(batch))]
    if not batch:
        return 0.0, 0.0
    engine.encode(np.stack(batch))
    started = time.perf_counter()
    engine.encode(np.stack(batch))
    encoding = time.perf_counter() - started
    return sum(decoding) / len(decoding), encoding / len(batch)
