"""Runs micro-jobs: decode ahead, encode, write behind."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain, groupby
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from lazarus_pl.cache.job_file import JobFile, rows_digest
from lazarus_pl.cache.job_folder import JobFolder
from lazarus_pl.cache.photo_reader import PhotoReader
from lazarus_pl.cache.ragged_grids import Layer, RaggedGrids, values_of
from lazarus_pl.cache.read_row import ReadRow
from lazarus_pl.cache.read_task import ReadTask
from lazarus_pl.cache.view_workers import ViewWorkers
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.photo import Photo
from lazarus_pl.encoder.encode_photos import Features, encode_photos
from lazarus_pl.encoder.engine import Engine
from lazarus_pl.encoder.engine_ahead import EngineAhead
from lazarus_pl.encoder.sliding_windows import SlidingWindows
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.errors import LazarusError
from lazarus_pl.progress import Progress

if TYPE_CHECKING:
    from lazarus_pl.views.view_maker import ViewMaker

_AHEAD = 96
_FLOAT16_BYTES = 2
_EXPONENT = 0x7C00


class _Encoded(NamedTuple):
    """The rows of a job: those with features, one by one, and those without."""

    number: int
    kept: list[int]
    features: list[Features]
    unusable: list[ReadRow]


class _Stored(NamedTuple):
    """Photos of a job that have features, and rows of it that no progress has counted yet."""

    photos: int
    uncounted: int


class JobRunner:
    """Extracts the features of pending jobs, beside other processes that do the same.

    Photos are decoded by threads, and many views made by processes, while the encoder works on
    earlier ones in a thread of its own, and files are written by another; memory does not depend on
    the number of photos.

    Args:
        root: What the photos' paths are relative to.
        photos: Photos by the SHA-256 of their bytes.
        jobs: The plan, its files and its locks; the system releases locks when a process ends.
        engine: Runs the encoder.
        maker: Makes the views, if the plan is one of views.
        windows: How large photos are read; views are always whole.
    """

    def __init__(
        self,
        root: Path,
        photos: Mapping[str, Photo],
        jobs: JobFolder,
        engine: Engine,
        maker: ViewMaker | None = None,
        windows: WindowsSpec | None = None,
    ) -> None:
        self._photos = photos
        self._plan = jobs.plan
        self._index = jobs.index
        self._locks = jobs.locks
        self._engine = engine
        self._windows = windows or WindowsSpec()
        self._size = int(engine.identity["image_size"])
        kind = str(engine.identity["interpolation"])
        self._reader = PhotoReader(root, self._windows, self._size, kind, maker)
        self._unit = "views" if maker else "photos"
        self._held: dict[int, FileLock] = {}

    def run(self, pending: Sequence[int]) -> int:
        """Does those pending jobs that no other process is at work on.

        Returns:
            The number of photos, or of views, whose features were computed.

        Raises:
            LazarusError: If there is not enough room on the disk, or the encoder gives values
                that are not finite.
            OSError: If a job cannot be written.
        """
        read = [
            self._windows_of(row.sha256) for number in pending for row in self._plan.jobs[number]
        ]
        self._check_space(read)
        photos = 0
        decoded = self._read_ahead(pending, read)
        try:
            with (
                Progress("extracting", len(read), self._unit) as progress,
                ThreadPoolExecutor(1) as writer,
                # left first: what is not encoded yet is left out, and the writer need not wait
                EngineAhead(self._engine) as engine,
                closing(decoded),
            ):
                jobs = groupby(chain.from_iterable(decoded), key=lambda item: item.job)
                writing = (
                    writer.submit(self._store, self._encode(engine, number, rows, progress))
                    for number, rows in jobs
                )
                for finished, job in enumerate(_one_behind(writing), 1):
                    photos += job.photos
                    progress.advance(job.uncounted, f"job {finished} of {len(pending)}")
        finally:
            for lock in self._held.values():
                lock.release()
            self._held.clear()
        return photos

    def _windows_of(self, sha256: str) -> SlidingWindows:
        """The windows of a photo; one, where nothing is known of it."""
        photo = self._photos.get(sha256)
        if photo is None:
            return SlidingWindows((self._size, self._size), self._size)
        return self._windows.over(photo.width, photo.height, self._size)

    def _read_ahead(
        self, pending: Sequence[int], read: Sequence[SlidingWindows]
    ) -> Generator[list[ReadRow], None, None]:
        """Rows of photos in order; as many wait decoded as leave memory what it is."""
        tasks = self._claim(pending)
        if self._reader.maker is None:
            most = max((prod(windows.shape) / windows.size**2 for windows in read), default=1)
            return ordered_map(self._reader, tasks, ahead=max(1, int(_AHEAD / most)))
        workers = ViewWorkers.of(len(read))
        rows = (row.sha256 for number in pending for row in self._plan.jobs[number])
        views = max(Counter(rows).values(), default=1)
        ahead = max(_AHEAD // views, 2 * workers.count)
        return ordered_map(self._reader, tasks, workers.count, ahead, workers.processes)

    def _check_space(self, read: Sequence[SlidingWindows]) -> None:
        photos, shapes = len(read), self._engine.layer_shapes.values()
        needed = _FLOAT16_BYTES * sum(windows.values(shapes) for windows in read)
        free = shutil.disk_usage(self._index.path(0).parent).free
        if needed > free:
            raise LazarusError(
                f"the features of {photos} {self._unit} need {needed / 1e6:,.0f} MB, but there is "
                f"only {free / 1e6:,.0f} MB of room in '{self._index.path(0).parent}': free some, "
                "name another folder with --out, or keep fewer layers with --encoder.layers"
            )

    def _claim(self, pending: Sequence[int]) -> Iterator[ReadTask]:
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
            yield from self._tasks(number)

    def _tasks(self, number: int) -> Iterator[ReadTask]:
        """The photos of a job; views of one photo that follow each other are decoded once."""
        row = 0
        for sha256, rows in groupby(self._plan.jobs[number], key=lambda item: item.sha256):
            views = tuple(item.view for item in rows)
            yield ReadTask(number, row, self._photos.get(sha256), views)
            row += len(views)

    def _encode(
        self, engine: EngineAhead, number: int, rows: Iterator[ReadRow], progress: Progress
    ) -> _Encoded:
        """Encodes one job in batches of fixed composition, drawing its rows as they come."""
        encoded = _Encoded(number, [], [], [])
        usable = _usable(rows, encoded)
        for features in encode_photos(engine, usable, self._windows.overlap):
            encoded.features.append(features)
            if self._windows.count > 1:
                progress.advance()
        return encoded

    def _job(self, encoded: _Encoded) -> JobFile:
        rows = self._plan.jobs[encoded.number]
        layers = {
            layer: self._layer(shape, len(rows), encoded.kept, encoded.features, layer)
            for layer, shape in self._engine.layer_shapes.items()
        }
        self._check_finite(layers)
        return JobFile(
            self._index.key,
            rows_digest(rows),
            layers,
            {item.row: item.reason for item in encoded.unusable if item.reason},
            tuple(item.row for item in encoded.unusable if item.gone),
        )

    def _layer(
        self,
        shape: tuple[int, ...],
        count: int,
        kept: Sequence[int],
        encoded: Sequence[Features],
        layer: str,
    ) -> Layer:
        """Puts encoded photos into their rows; those of failed photos stay zero, or empty."""
        values = [features[layer] for features in encoded]
        if self._windows.count > 1 and len(shape) == 3:
            return RaggedGrids.of(count, shape[2], dict(zip(kept, values, strict=True)))
        out = np.zeros((count, *shape), dtype=np.float16)
        for row, value in zip(kept, values, strict=True):
            out[row] = value
        return out

    def _check_finite(self, layers: Mapping[str, Layer]) -> None:
        for layer, values in layers.items():
            if not _are_finite(values_of(values)):
                raise LazarusError(
                    f"the encoder '{self._engine.identity['name']}' gives values in layer "
                    f"'{layer}' that float16 cannot hold (precision {self._engine.precision}): "
                    "try --precision 32, or another encoder"
                )

    def _store(self, encoded: _Encoded) -> _Stored:
        number = encoded.number
        try:
            job = self._job(encoded)
            job.write(self._index.path(number))
            self._index.remember(number, job)
        finally:
            self._held.pop(number).release()
        photos = len(encoded.kept)
        counted = photos if self._windows.count > 1 else 0
        return _Stored(photos, photos + len(encoded.unusable) - counted)


def _one_behind(futures: Iterator[Future[_Stored]]) -> Iterator[_Stored]:
    """Waits for each after the next one has begun."""
    before: Future[_Stored] | None = None
    for future in futures:
        if before:
            yield before.result()
        before = future
    if before:
        yield before.result()


def _are_finite(values: npt.NDArray[np.float16]) -> bool:
    """``np.isfinite``, which is slow for float16: bits of the exponent that are not all set."""
    return bool((values.view(np.uint16) & _EXPONENT != _EXPONENT).all())


def _usable(rows: Iterator[ReadRow], encoded: _Encoded) -> Iterator[npt.NDArray[np.uint8]]:
    """Pixels of what was decoded; the rows are told apart as they come."""
    for item in rows:
        if item.pixels is None:
            encoded.unusable.append(item)
            continue
        encoded.kept.append(item.row)
        yield item.pixels
