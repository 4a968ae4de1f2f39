"""Stands in for an encoder where the cache is what is tested."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
import numpy.typing as npt


class MeanColourEngine:
    """Mean colours of the photo and of its quarters."""

    precision = "32"
    device = "cpu"
    batch_size = 8

    def __init__(self, name: str = "mean colour", seconds: float = 0.0) -> None:
        self.name, self.encoder = name, name
        self.seconds = seconds
        self.encoded = 0

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "name": self.encoder,
            "weights": {"source": "random", "file": "random", "sha256": "0"},
            "image_size": 16,
            "interpolation": "bicubic",
            "digest": hashlib.sha256(self.encoder.encode()).hexdigest(),
        }

    @property
    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"pooled": (3,), "grid32": (2, 2, 3)}

    def encode(self, photos: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float16]]:
        time.sleep(self.seconds)
        self.encoded += len(photos)
        values = photos.astype(np.float32) / 255
        quarters = values.reshape(len(values), 2, 8, 2, 8, 3).mean(axis=(2, 4))
        return {
            "pooled": values.mean(axis=(1, 2)).astype(np.float16),
            "grid32": quarters.astype(np.float16),
        }
