"""Runs micro-jobs: decode ahead, encode, write behind."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from lazarus_pl.cache.job_file import JobFile, rows_digest
from lazarus_pl.cache.job_index import JobIndex
from lazarus_pl.cache.job_plan import JobPlan
from lazarus_pl.data.decode import PhotoError, read_bytes, read_pixels
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.photo import Photo
from lazarus_pl.encoder.engine import Engine
from lazarus_pl.errors import LazarusError
from lazarus_pl.progress import Progress

_AHEAD = 96
_FLOAT16_BYTES = 2


class _Task(NamedTuple):
    job: int
    row: int
    photo: Photo | None


class _Decoded(NamedTuple):
    job: int
    row: int
    pixels: npt.NDArray[np.uint8] | None
    reason: str = ""
    gone: bool = False


class JobRunner:
    """Extracts the features of pending jobs, beside other processes that do the same.

    Photos are decoded by threads while the encoder works on earlier ones, and files are written
    by another thread; memory does not depend on the number of photos.

    Args:
        root: What the photos' paths are relative to.
        photos: Photos by the SHA-256 of their bytes.
        plan: The rows of every job.
        index: Where the job files are.
        locks: Folder for lock files; the system releases them when a process ends.
        engine: Runs the encoder.
    """

    def __init__(
        self,
        root: Path,
        photos: Mapping[str, Photo],
        plan: JobPlan,
        index: JobIndex,
        locks: Path,
        engine: Engine,
    ) -> None:
        self._root = root
        self._photos = photos
        self._plan = plan
        self._index = index
        self._locks = locks
        self._engine = engine
        self._held: dict[int, FileLock] = {}

    def run(self, pending: Sequence[int]) -> int:
        """Does those pending jobs that no other process is at work on.

        Returns:
            The number of photos whose features were computed.

        Raises:
            LazarusError: If there is not enough room on the disk, or the encoder gives values
                that are not finite.
            OSError: If a job cannot be written.
        """
        total = sum(len(self._plan.jobs[number]) for number in pending)
        self._check_space(total)
        photos = finished = 0
        decoded = ordered_map(self._decode, self._claim(pending), ahead=_AHEAD)
        try:
            with (
                Progress("extracting", total, "photos") as progress,
                ThreadPoolExecutor(1) as writer,
                closing(decoded),
            ):
                writing: Future[None] | None = None
                for number, rows in groupby(decoded, key=lambda item: item.job):
                    job = self._encode(number, rows, progress)
                    if writing:
                        writing.result()
                    writing = writer.submit(self._store, number, job)
                    photos += len(self._plan.jobs[number]) - len(job.failed) - len(job.gone)
                    finished += 1
                    progress.advance(0, note=f"job {finished} of {len(pending)}")
                if writing:
                    writing.result()
        finally:
            for lock in self._held.values():
                lock.release()
            self._held.clear()
        return photos

    def _check_space(self, photos: int) -> None:
        values = sum(prod(shape) for shape in self._engine.layer_shapes.values())
        needed = photos * values * _FLOAT16_BYTES
        free = shutil.disk_usage(self._index.path(0).parent).free
        if needed > free:
            raise LazarusError(
                f"the features of {photos} photos need {needed / 1e6:,.0f} MB, but there is only "
                f"{free / 1e6:,.0f} MB of room in '{self._index.path(0).parent}': free some, name "
                "another folder with --out, or keep fewer layers with --encoder.layers"
            )

    def _claim(self, pending: Sequence[int]) -> Iterator[_Task]:
        for number in pending:
            lock = FileLock(self._locks / f"{number:05d}.lock", thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            if self._index.path(number).exists():
                lock.release()
                continue
            self._held[number] = lock
            for row, (sha256, _) in enumerate(self._plan.jobs[number]):
                yield _Task(number, row, self._photos.get(sha256))

    def _decode(self, task: _Task) -> _Decoded:
        job, row, photo = task
        if photo is None:
            return _Decoded(job, row, None, gone=True)
        try:
            data = read_bytes(self._root / photo.path)
        except PhotoError:
            return _Decoded(job, row, None, gone=True)
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            return _Decoded(job, row, None, gone=True)
        identity = self._engine.identity
        try:
            pixels = read_pixels(data, identity["image_size"], identity["interpolation"])
        except PhotoError as error:
            return _Decoded(job, row, None, str(error))
        return _Decoded(job, row, pixels)

    def _encode(self, number: int, rows: Iterator[_Decoded], progress: Progress) -> JobFile:
        """Encodes one job in batches of fixed composition, drawing its rows as they come."""
        failed: dict[int, str] = {}
        gone: list[int] = []
        kept: list[int] = []
        batch: list[npt.NDArray[np.uint8]] = []
        parts: list[dict[str, npt.NDArray[np.float16]]] = []
        count = 0
        for item in rows:
            count += 1
            if item.pixels is not None:
                kept.append(item.row)
                batch.append(item.pixels)
            elif item.gone:
                gone.append(item.row)
            else:
                failed[item.row] = item.reason
            if len(batch) == self._engine.batch_size:
                parts.append(self._engine.encode(np.stack(batch)))
                progress.advance(len(batch))
                batch = []
        if batch:
            parts.append(self._engine.encode(np.stack(batch)))
        progress.advance(len(batch) + len(failed) + len(gone))
        features = {
            layer: _scatter(count, shape, kept, [part[layer] for part in parts])
            for layer, shape in self._engine.layer_shapes.items()
        }
        self._check_finite(features)
        held = rows_digest(self._plan.jobs[number])
        return JobFile(self._index.key, held, features, failed, tuple(gone))

    def _check_finite(self, features: Mapping[str, npt.NDArray[np.float16]]) -> None:
        for layer, values in features.items():
            if not np.isfinite(values).all():
                raise LazarusError(
                    f"the encoder '{self._engine.identity['name']}' gives values in layer "
                    f"'{layer}' that float16 cannot hold (precision {self._engine.precision}): "
                    "try --precision 32, or another encoder"
                )

    def _store(self, number: int, job: JobFile) -> None:
        try:
            job.write(self._index.path(number))
            self._index.remember(number, job)
        finally:
            self._held.pop(number).release()


def _scatter(
    count: int,
    shape: Sequence[int],
    kept: Sequence[int],
    parts: Sequence[npt.NDArray[np.float16]],
) -> npt.NDArray[np.float16]:
    """Puts encoded photos into their rows; the rows of failed photos stay zero."""
    out = np.zeros((count, *shape), dtype=np.float16)
    if parts:
        out[list(kept)] = np.concatenate(parts)
    return out
