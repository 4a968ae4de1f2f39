"""Photos that are encoded, and how well a checkpoint names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import f1_score

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.data.decode import read_pixels
from lazarus_pl.data.listing import list_photos
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.tasks.load_task import load_task

_BATCH = 256

# features by layer, and labels
Photos = tuple[dict[str, npt.NDArray[np.float16]], list[str]]


def encoded(data: Path) -> Photos:
    """All photos of a folder; too few of a class for a split, so no cache."""
    engine, (root, listed) = make_engine(EncoderSpec()), list_photos(data)
    identity = engine.identity
    size, interpolation = identity["image_size"], identity["interpolation"]
    photos = [item for item in listed if item.looks_like_a_photo and item.label]
    pixels = [read_pixels((root / item.path).read_bytes(), size, interpolation) for item in photos]
    return engine.encode(np.stack(pixels)), [str(item.label) for item in photos]


def test_side(folder: Path) -> Photos:
    """The photos of test in a cache."""
    cache = FeatureCache(folder)
    indices = cache.indices("test")
    features = {layer: cache.gather(layer, indices) for layer in cache.feature_shapes}
    return features, [cache.manifest.photos[index].label for index in indices]


def score(checkpoint: Path, photos: Photos) -> float:
    """Macro-F1 over the classes that the photos have."""
    predicted, names = named(checkpoint, photos)
    return macro_f1(photos[1], predicted, names)


@torch.inference_mode()
def named(checkpoint: Path, photos: Photos) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Indices of the classes that a checkpoint names, ``(N,)``, and the classes."""
    task, (features, truth) = load_task(checkpoint), photos
    predicted = []
    for start in range(0, len(truth), _BATCH):
        batch = {
            layer: torch.from_numpy(features[layer][start : start + _BATCH])
            for layer in task.feature_shapes
        }
        predicted.append(task(batch).argmax(1).numpy())
    return np.concatenate(predicted), task.class_names


def macro_f1(truth: list[str], predicted: npt.NDArray[np.int64], names: list[str]) -> float:
    """Macro-F1 over the classes that occur in the truth.

    Args:
        truth: Names of the right classes.
        predicted: Indices of the named ones, ``(N,)``.
        names: By index.
    """
    labels = sorted(set(truth))
    told = [names[index] for index in predicted]
    return float(f1_score(truth, told, labels=labels, average="macro", zero_division=0))
