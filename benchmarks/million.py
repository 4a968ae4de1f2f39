"""A finished cache of a million photos: a call with nothing to do, opening it, drawing batches.

    python benchmarks/million.py --photos 1000000

Simulated are the photos, which are empty files in twenty class folders whose digests, sizes and
hashes in the manifest are made up, and the features: every job has its own file of 64 rows, made as
``lazarus extract`` makes it, but of 16 values a photo instead of 1,280 and more. No encoder runs.
Real are the calls that are timed. Times of the processor are told beside those of the clock, which
other programs on the machine lengthen. The cache is opened by a process of its own, so that its
memory is not that of the extraction.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from report import report

from lazarus_pl.cache.aligned_npz import write_npz
from lazarus_pl.cache.cache_header import JOB_SIZE, CacheHeader
from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.cache.job_file import JobFile, rows_digest
from lazarus_pl.cache.job_index import JobIndex
from lazarus_pl.cache.job_plan import JobPlan, Row
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine import Engine
from lazarus_pl.encoder.weights import find_weights

_CLASSES = 20
_WIDTH = 16
_BATCH = 64
_MB = 1e6
_SPEC = EncoderSpec(weights="random", layers=("pooled",))


def main() -> None:
    """Runs the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data, out = Path(temporary) / "photos", Path(temporary) / "cache"
        _simulate(data, out, options.photos)

        def extract() -> None:
            summary = Extraction(data, out, _SPEC, SplitSpec(), _no_engine).run()
            assert (summary.photos, summary.extracted) == (options.photos, 0)

        rows = [_timed("list and stat the photos, no more", lambda: _bare(data))]
        rows.append(_timed("extract, the first time: looks at everything", extract))
        rows.append(_timed("extract, nothing to do", extract))
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            rows += fresh.submit(_read, out, options.batches // 2).result()
    report(
        "million",
        rows,
        {
            "photos": options.photos,
            "jobs": -(-options.photos // JOB_SIZE),
            "simulated": "empty photos, features of 16 values",
        },
    )


def _no_engine(_: EncoderSpec) -> Engine:
    raise AssertionError("there was something to encode")


def _timed(what: str, work: Callable[[], object]) -> dict[str, str | float]:
    process = psutil.Process()
    started, used = time.perf_counter(), time.process_time()
    work()
    return {
        "what": what,
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - used,
        "resident_mb": process.memory_info().rss / _MB,
    }


def _bare(data: Path) -> None:
    for folder in os.scandir(data):
        with os.scandir(folder) as entries:
            for entry in entries:
                entry.stat()


def _read(out: Path, half: int) -> list[dict[str, str | float]]:
    """Opens the cache, asks for what training asks for, and draws batches."""
    opened: list[FeatureCache] = []
    rows = [_timed("open the cache", lambda: opened.append(FeatureCache(out)))]
    (cache,) = opened
    rows.append(_timed("its classes and sides", lambda: (cache.targets, cache.indices("train"))))
    draw = np.random.default_rng(0)
    for part in ("first", "second"):
        name = f"draw {half} batches of {_BATCH}, the {part} half"
        rows.append(_timed(name, lambda: _draw(cache, draw, half)))
    return rows


def _draw(cache: FeatureCache, draw: np.random.Generator, batches: int) -> None:
    for _ in range(batches):
        cache.gather("pooled", draw.integers(0, len(cache.manifest.photos), _BATCH))


def _simulate(data: Path, out: Path, count: int) -> None:
    (out / "jobs").mkdir(parents=True)
    photos = sorted(_photos(data, count), key=lambda photo: photo.path)
    Manifest(tuple(photos)).write(out)
    header = _header(data)
    header.write(out)
    plan = JobPlan().extended((Row(photo.sha256) for photo in photos), JOB_SIZE)
    plan.write(out / "jobs.csv")
    index = JobIndex(out, header.key)
    draw = np.random.default_rng(0)
    for number, rows in enumerate(plan.jobs):
        features = draw.standard_normal((len(rows), _WIDTH)).astype(np.float16)
        job = JobFile(header.key, rows_digest(rows), {"pooled": features})
        # without fsync, which would take longer than all that is measured
        with index.path(number).open("wb") as file:
            write_npz(file, job.members())
        index.remember(number, job)
    index.write()


def _photos(data: Path, count: int) -> Iterator[Photo]:
    draw = np.random.default_rng(1)
    for label in (f"class{number:02d}" for number in range(_CLASSES)):
        (data / label).mkdir(parents=True)
    for number in range(count):
        label = f"class{number % _CLASSES:02d}"
        path = data / label / f"IMG_{number:07d}.jpg"
        path.touch()
        modified = path.stat().st_mtime_ns
        sha256, phash = draw.bytes(32).hex(), draw.bytes(8).hex()
        side = "train" if number < 0.7 * count else "val" if number < 0.85 * count else "test"
        yield Photo(
            path=f"{label}/{path.name}",
            label=label,
            bytes=0,
            sha256=sha256,
            width=256,
            height=256,
            phash=phash,
            modified=modified,
            split=side,
        )


def _header(data: Path) -> CacheHeader:
    encoder = {
        "name": _SPEC.name,
        "weights": {"source": "random", "file": "", "sha256": find_weights(_SPEC).sha256},
        "image_size": _SPEC.image_size,
        "digest": "0" * 64,
    }
    return CacheHeader(
        encoder=encoder,
        layers={"pooled": (_WIDTH,)},
        request=_plain(_SPEC),
        precision="32",
        data=str(data.resolve()),
        label_from="path",
        split=_plain(SplitSpec()),
    )


def _plain(spec: Any) -> dict[str, Any]:  # noqa: ANN401  # a dataclass
    content: dict[str, Any] = json.loads(json.dumps(vars(spec)))
    return content


if __name__ == "__main__":
    main()
