"""Runs micro-jobs: decode ahead, encode, write behind."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from lazarus_pl.cache.ragged_grids import Layer, RaggedGrids, values_of
from lazarus_pl.data.decode import PhotoError, read_bytes
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.photo import Photo
from lazarus_pl.encoder.encode_photos import Features, encode_photos
from lazarus_pl.encoder.engine import Engine
from lazarus_pl.encoder.sliding_windows import SlidingWindows
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.errors import LazarusError
from lazarus_pl.progress import Progress

if TYPE_CHECKING:
    from lazarus_pl.views.view_maker import ViewMaker

_AHEAD = 96
_FLOAT16_BYTES = 2


class _Task(NamedTuple):
    """One photo's rows in a job: the first one and the number of each view."""

    job: int
    row: int
    photo: Photo | None
    views: tuple[int, ...]


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
        self._root = root
        self._photos = photos
        self._plan = jobs.plan
        self._index = jobs.index
        self._locks = jobs.locks
        self._engine = engine
        self._maker = maker
        self._windows = windows or WindowsSpec()
        self._size = int(engine.identity["image_size"])
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
        photos = finished = 0
        decoded = ordered_map(self._decode, self._claim(pending), ahead=self._ahead(read))
        try:
            with (
                Progress("extracting", len(read), self._unit) as progress,
                ThreadPoolExecutor(1) as writer,
                closing(decoded),
            ):
                writing: Future[None] | None = None
                for number, rows in groupby(
                    chain.from_iterable(decoded), key=lambda item: item.job
                ):
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

    def _windows_of(self, sha256: str) -> SlidingWindows:
        """The windows of a photo; one, where nothing is known of it."""
        photo = self._photos.get(sha256)
        if photo is None:
            return SlidingWindows((self._size, self._size), self._size)
        return self._windows.over(photo.width, photo.height, self._size)

    def _ahead(self, read: Iterable[SlidingWindows]) -> int:
        """How many photos may wait decoded: as many as leave memory what it is."""
        if self._maker is not None:
            return _AHEAD // 8
        most = max((prod(windows.shape) / windows.size**2 for windows in read), default=1)
        return max(1, int(_AHEAD / most))

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
            yield from self._tasks(number)

    def _tasks(self, number: int) -> Iterator[_Task]:
        """The photos of a job; views of one photo that follow each other are decoded once."""
        row = 0
        for sha256, rows in groupby(self._plan.jobs[number], key=lambda item: item.sha256):
            views = tuple(item.view for item in rows)
            yield _Task(number, row, self._photos.get(sha256), views)
            row += len(views)

    def _decode(self, task: _Task) -> list[_Decoded]:
        job, first, photo, views = task
        places = range(first, first + len(views))
        data = self._read(photo)
        if photo is None or data is None:
            return [_Decoded(job, row, None, gone=True) for row in places]
        try:
            pixels = self._pixels(data, photo, views)
        except PhotoError as error:
            return [_Decoded(job, row, None, str(error)) for row in places]
        return [_Decoded(job, row, seen) for row, seen in zip(places, pixels, strict=True)]

    def _read(self, photo: Photo | None) -> bytes | None:
        """A photo's bytes, or None if they are not what they were at the scan."""
        if photo is None:
            return None
        try:
            data = read_bytes(self._root / photo.path)
        except PhotoError:
            return None
        return data if hashlib.sha256(data).hexdigest() == photo.sha256 else None

    def _pixels(
        self, data: bytes, photo: Photo, views: Sequence[int]
    ) -> list[npt.NDArray[np.uint8]]:
        if self._maker is not None:
            return self._maker.views(data, photo.sha256, views)
        kind = self._engine.identity["interpolation"]
        return [self._windows.read(data, self._size, kind)] * len(views)

    def _encode(self, number: int, rows: Iterator[_Decoded], progress: Progress) -> JobFile:
        """Encodes one job in batches of fixed composition, drawing its rows as they come."""
        unusable: list[_Decoded] = []
        kept: list[int] = []
        encoded: list[Features] = []
        usable = _usable(rows, kept, unusable)
        for features in encode_photos(self._engine, usable, self._windows.overlap):
            encoded.append(features)
            progress.advance()
        progress.advance(len(unusable))
        layers = {
            layer: self._layer(shape, len(self._plan.jobs[number]), kept, encoded, layer)
            for layer, shape in self._engine.layer_shapes.items()
        }
        self._check_finite(layers)
        return JobFile(
            self._index.key,
            rows_digest(self._plan.jobs[number]),
            layers,
            {item.row: item.reason for item in unusable if not item.gone},
            tuple(item.row for item in unusable if item.gone),
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
        if values:
            out[list(kept)] = values
        return out

    def _check_finite(self, layers: Mapping[str, Layer]) -> None:
        for layer, values in layers.items():
            if not np.isfinite(values_of(values)).all():
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


def _usable(
    rows: Iterator[_Decoded], kept: list[int], unusable: list[_Decoded]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Pixels of what was decoded; the rows are told apart as they come."""
    for item in rows:
        if item.pixels is None:
            unusable.append(item)
            continue
        kept.append(item.row)
        yield item.pixels
