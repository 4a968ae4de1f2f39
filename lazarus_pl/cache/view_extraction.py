"""Augmented views of photos to features, in micro-jobs beside the plain ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.job_folder import JobFolder
from lazarus_pl.cache.job_plan import Row
from lazarus_pl.cache.job_runner import JobRunner
from lazarus_pl.cache.say_cost import say_cost
from lazarus_pl.cache.view_workers import ViewWorkers
from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.data.decode import PhotoError, read_bytes
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.views.view_policy import ViewPolicy
from lazarus_pl.views.view_sheet import view_sheet
from lazarus_pl.views.views_spec import ViewsSpec

if TYPE_CHECKING:
    from lazarus_pl.encoder.engine import Engine
    from lazarus_pl.views.view_maker import Pixels, ViewMaker

_FLOAT16_BYTES = 2
_SHEET = "views.png"


class ViewExtraction:
    """Makes and encodes the views that a cache lacks.

    Views of one policy and seed lie in ``views/<digest>`` with a plan of their own.

    Args:
        spec: Which views.
        out: The cache's folder.
        say: Told what they will cost, before they are made.

    Raises:
        LazarusError: If there is no such policy.

    Attributes:
        is_complete: Whether :meth:`run` left nothing to be done another time.
    """

    def __init__(self, spec: ViewsSpec, out: Path, say: Callable[[str], None]) -> None:
        self._spec = spec
        self._out = out
        self._say = say
        self._policy = ViewPolicy.find(spec.policy)
        self._header = ViewsHeader.of(self._policy, spec.seed)
        self._folder = self._header.folder(out)
        self.is_complete = False

    @property
    def digest(self) -> str:
        """Digest of policy and seed."""
        return self._header.digest

    def photos(self, manifest: Manifest) -> list[Photo]:
        """Those that get views."""
        return [photo for side in self._spec.sides for photo in manifest.side(side)]

    def maker(self, cache: CacheHeader, root: Path, manifest: Manifest) -> ViewMaker:
        """What makes the views.

        Args:
            cache: The cache's header.
            root: What the photos' paths are relative to.
            manifest: The photos; the surroundings of those of train may be shown.

        Raises:
            LazarusError: If a step of the policy cannot be.
        """
        from lazarus_pl.views.view_maker import ViewMaker

        donors = {photo.sha256: root / photo.path for photo in reversed(manifest.side("train"))}
        return ViewMaker(
            self._policy,
            self._spec.seed,
            int(cache.encoder["image_size"]),
            str(cache.encoder["interpolation"]),
            [donors[sha256] for sha256 in sorted(donors)],
        )

    def run(
        self,
        cache: CacheHeader,
        root: Path,
        manifest: Manifest,
        maker: ViewMaker,
        engine: Callable[[], Engine],
        verify: bool = False,
    ) -> int:
        """Does what is left to do, beside other processes that do the same.

        Args:
            cache: The cache's header.
            root: What the photos' paths are relative to.
            manifest: The photos.
            maker: As :meth:`maker` gives it.
            engine: Gives what runs the encoder; not called when nothing is left to do.
            verify: Read all job files and compare their digests first.

        Returns:
            The number of views whose features were computed.

        Raises:
            LazarusError: If a transform fails or the disk has not enough room.
            OSError: If a file cannot be written.
        """
        viewed = self.photos(manifest)
        photos = {photo.sha256: photo for photo in reversed(viewed)}
        jobs = JobFolder(self._folder, self._header.key(cache.key))
        if verify:
            jobs.index.forget()
        with JobFolder.lock_of(self._folder):
            self._header.write(self._out)
            jobs.extend(
                Row(photo.sha256, view)
                for photo in viewed
                for view in range(1, self._spec.count + 1)
            )

        def is_wanted(row: Row) -> bool:
            return row.view <= self._spec.count and row.sha256 in photos

        def left() -> list[int]:
            return jobs.pending(is_wanted)

        if pending := left():
            self._draw_sheet(root, manifest, maker)
            rows = sum(len(jobs.plan.jobs[number]) for number in pending)
            self._announce(rows, root, viewed, maker, engine())
        made = jobs.work(
            left, lambda free: JobRunner(root, photos, jobs, engine(), maker).run(free)
        )
        self.is_complete = not jobs.has_gone(is_wanted)
        return made

    def _draw_sheet(self, root: Path, manifest: Manifest, maker: ViewMaker) -> None:
        path = self._folder / _SHEET
        if not path.exists():
            view_sheet(maker, root, manifest.side("train")).save(path)

    def _announce(
        self, rows: int, root: Path, photos: Sequence[Photo], maker: ViewMaker, engine: Engine
    ) -> None:
        """Says what the views will cost, from those of a few photos."""
        megabytes = rows * _FLOAT16_BYTES * sum(map(prod, engine.layer_shapes.values())) / 1e6
        making, encoding = _seconds_a_view(root, photos, maker, engine)
        seconds = rows * encoding + ViewWorkers.of(rows).seconds(rows, making)
        self._say(
            f"{rows} views of photos of {' and '.join(self._spec.sides)} by the policy "
            f"'{self._policy.name}': {say_cost(megabytes, seconds)}; what they show stands in "
            f"'{self._folder / _SHEET}'"
        )


def _seconds_a_view(
    root: Path, photos: Sequence[Photo], maker: ViewMaker, engine: Engine
) -> tuple[float, float]:
    """To make one, and to encode it."""
    step = max(1, len(photos) // engine.batch_size)
    views: list[Pixels] = []
    started = time.perf_counter()
    for photo in photos[::step][: engine.batch_size]:
        try:
            views += maker.views(read_bytes(root / photo.path), photo.sha256, [1])
        except PhotoError:
            continue
    if not views:
        return 0.0, 0.0
    making = time.perf_counter() - started
    engine.encode(np.stack(views))
    started = time.perf_counter()
    engine.encode(np.stack(views))
    encoding = time.perf_counter() - started
    return making / len(views), encoding / len(views)
