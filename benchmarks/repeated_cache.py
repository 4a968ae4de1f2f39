"""A cache of as many photos as one likes, made from one of fewer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lazarus_pl.cache.aligned_npz import write_npz
from lazarus_pl.cache.cache_header import JOB_SIZE
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.cache.job_file import JobFile, rows_digest
from lazarus_pl.cache.job_index import JobIndex
from lazarus_pl.cache.job_plan import JobPlan, Row
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo

_NOISE = 0.2


def repeated_cache(source: FeatureCache, out: Path, count: int) -> None:
    """Writes the pooled features of a cache again and again, each time with other noise.

    Args:
        source: Whose photos, labels and sides are repeated.
        out: Folder of the new cache.
        count: Photos of the new one.
    """
    (out / "jobs").mkdir(parents=True)
    photos = list(_photos(source.manifest.photos, count))
    Manifest(tuple(photos)).write(out)
    header = replace(source.header, layers={"pooled": source.feature_shapes["pooled"]})
    header.write(out)
    plan = JobPlan().extended((Row(photo.sha256) for photo in photos), JOB_SIZE)
    plan.write(out / "jobs.csv")
    index = JobIndex(out, header.key)
    everything = np.arange(len(source.manifest.photos))
    pooled = source.gather("pooled", everything).astype(np.float32)
    deviation = pooled.std(axis=0)
    draw = np.random.default_rng(0)
    for number, rows in enumerate(plan.jobs):
        places = (number * JOB_SIZE + np.arange(len(rows))) % len(everything)
        noise = draw.standard_normal((len(rows), pooled.shape[1]), dtype=np.float32)
        features = (pooled[places] + _NOISE * deviation * noise).astype(np.float16)
        job = JobFile(header.key, rows_digest(rows), {"pooled": features})
        with index.path(number).open("wb") as file:
            write_npz(file, job.members())
        index.remember(number, job)
    index.write()


def _photos(photos: Sequence[Photo], count: int) -> Iterator[Photo]:
    for number in range(count):
        photo = photos[number % len(photos)]
        again = f"{number // len(photos)}/{photo.path}"
        digest = hashlib.sha256(f"{number} {photo.sha256}".encode()).hexdigest()
        yield replace(photo, path=again, sha256=digest)
