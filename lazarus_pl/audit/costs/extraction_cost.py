"""What extraction will cost: a real one, of a few photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lazarus_pl.audit.costs.memory import CONTEXT_MB, MB, largest_step, resident_mb
from lazarus_pl.audit.costs.sample import write_table
from lazarus_pl.audit.costs.stage_cost import StageCost
from lazarus_pl.cache.cache_header import JOB_SIZE
from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.decode import read_bytes, read_pixels
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.make_engine import make_engine

_DECODED = 64
_ENCODED = 32
_WRITTEN = 8_000_000
_FLOAT16_BYTES = 2
_ADVICE = {
    "encoder": "a GPU, or --encoder.image_size 224, or a smaller --encoder.name",
    "decode": "more cores, or photos stored at 512 pixels instead of their full size",
    "disk": "--out on a faster disk, or fewer layers: --encoder.layers [pooled]",
}


@dataclass(frozen=True)
class ExtractionProbe:
    """What a real extraction of a sample showed.

    Attributes:
        cost: Of the whole dataset.
        rates: Photos a second that ``decode``, ``encoder`` and ``disk`` would reach alone.
        cache: Folder of the sample's cache.
        photo_mb: What one photo takes on the disk.
    """

    cost: StageCost
    rates: dict[str, float]
    cache: Path
    photo_mb: float


def probe_extraction(
    root: Path,
    sample: Sequence[Photo],
    photos: int,
    spec: EncoderSpec,
    options: EngineOptions,
    folder: Path,
    engines: Path | None = None,
) -> ExtractionProbe:
    """Extracts the sample and times its parts.

    Args:
        root: What the sample's paths are relative to.
        sample: Photos of train and val.
        photos: Number of photos of the whole dataset.
        spec: Encoder and layers.
        options: How the encoder is run.
        folder: Where the sample's cache is made.
        engines: Where a converted encoder is kept; None to keep none.

    Raises:
        LazarusError: If the encoder cannot be had or the disk is full.
    """
    started = time.perf_counter()
    engine = make_engine(spec, options, photos=photos, folder=engines)
    pixels = [_read(root / photo.path, spec.image_size) for photo in sample[:_ENCODED]]
    # chooses among engines, if there are several
    engine.encode(np.stack(pixels))
    # as the cache does: batches that fill the engine
    full = -(-_ENCODED // engine.batch_size) * engine.batch_size
    batches = np.resize(pixels, (full, *pixels[0].shape))
    # one that is kept is not converted again
    loading = time.perf_counter() - started if engines is None else 0.0
    write_table(sample, root, folder / "sample.csv")
    split = SplitSpec(strategy="predefined")
    cache = folder / "cache"

    def seconds(out: Path) -> float:
        return Extraction(folder / "sample.csv", out, spec, split, lambda _: engine).run().seconds

    if engine.device.type != "cpu":
        # the first use of a GPU builds what is kept
        seconds(folder / "first")
    per_photo = seconds(cache) / len(sample)
    ram = resident_mb()
    photo_mb = _FLOAT16_BYTES * sum(map(prod, engine.layer_shapes.values())) / MB
    rates = {
        "decode": _decode_rate(root, sample[:_DECODED], spec.image_size),
        "encoder": _rate(lambda: engine.encode(batches), full),
        "disk": _disk_rate(folder, photo_mb),
    }
    bottleneck = min(rates, key=lambda name: rates[name])
    cost = StageCost(
        stage="extraction",
        seconds=loading + photos * per_photo,
        disk_mb=photos * photo_mb,
        ram_mb=ram + JOB_SIZE * photo_mb,
        gpu_mb=_inference_mb(spec, options.batch_size),
        bottleneck=bottleneck,
        advice=_ADVICE[bottleneck],
    )
    return ExtractionProbe(cost, rates, cache, photo_mb)


def _read(path: Path, size: int) -> npt.NDArray[np.uint8]:
    return read_pixels(read_bytes(path), size)


def _decode_rate(root: Path, sample: Sequence[Photo], size: int) -> float:
    started = time.perf_counter()
    for _ in ordered_map(lambda photo: _read(root / photo.path, size), sample):
        pass
    return len(sample) / (time.perf_counter() - started)


def _rate(work: Callable[[], object], photos: int) -> float:
    started = time.perf_counter()
    work()
    return photos / (time.perf_counter() - started)


def _disk_rate(folder: Path, photo_mb: float) -> float:
    content = np.random.default_rng(0).bytes(_WRITTEN)
    started = time.perf_counter()
    with replace_file(folder / "written") as file:
        file.write(content)
    seconds = time.perf_counter() - started
    (folder / "written").unlink()
    return _WRITTEN / MB / photo_mb / seconds


@torch.inference_mode()
def _inference_mb(spec: EncoderSpec, batch_size: int) -> float:
    """Weights, and the largest input and output that live at the same time, in float32."""
    encoder = Encoder.from_spec(spec)
    with largest_step(encoder) as steps:
        encoder(torch.zeros(1, 3, spec.image_size, spec.image_size))
    weights = sum(p.numel() * p.element_size() for p in encoder.parameters())
    # a residual connection keeps one more of them
    return CONTEXT_MB + (weights + 1.5 * batch_size * max(steps)) / MB
