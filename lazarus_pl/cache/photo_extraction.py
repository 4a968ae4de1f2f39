"""Photos to features, in micro-jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lazarus_pl.cache.job_folder import JobFolder
from lazarus_pl.cache.job_plan import Row
from lazarus_pl.cache.job_runner import JobRunner
from lazarus_pl.cache.windows_cost import windows_cost
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.encoder.windows_spec import WindowsSpec

if TYPE_CHECKING:
    from lazarus_pl.encoder.engine import Engine


class PhotoExtraction:
    """Plans and encodes the photos that a cache lacks, in windows where they are large.

    Args:
        jobs: Of the cache.
        root: What the photos' paths are relative to.
        manifest: The photos.
        windows: How large photos are read.
        size: Side of a window in pixels.
    """

    def __init__(
        self, jobs: JobFolder, root: Path, manifest: Manifest, windows: WindowsSpec, size: int
    ) -> None:
        self._jobs = jobs
        self._root = root
        self._manifest = manifest
        self._windows = windows
        self._size = size

    def plan(self) -> None:
        """Plans jobs of 64 windows each, so that none takes much longer or more memory.

        To be called with the folder's lock held.
        """
        windows = {photo.sha256: self._windows_of(photo) for photo in self._manifest.photos}
        self._jobs.extend(map(Row, windows), lambda row: windows[row.sha256])

    def run(self, bind: Callable[[int], Engine], later: int, say: Callable[[str], None]) -> int:
        """Does what is left to do, beside other processes that do the same.

        Args:
            bind: Gives what runs the encoder, from how often it will be asked; not called when
                nothing is left to do.
            later: How often it will be asked when the photos are done.
            say: Told what windows will cost, before they are encoded.

        Returns:
            The number of photos whose features were computed.

        Raises:
            LazarusError: If the disk has not enough room, or features are not finite.
            OSError: If a file cannot be written.
        """
        photos = {photo.sha256: photo for photo in reversed(self._manifest.photos)}

        def due(left: Sequence[int]) -> list[Photo]:
            rows = (row.sha256 for number in left for row in self._jobs.plan.jobs[number])
            # some may be no more
            return [photos[sha256] for sha256 in rows if sha256 in photos]

        def encode(left: Sequence[int]) -> int:
            engine = bind(self._looks(due(left)) + later)
            return JobRunner(self._root, photos, self._jobs, engine, windows=self._windows).run(
                left
            )

        if self._windows.count > 1 and (first := due(self._jobs.pending())):
            say(windows_cost(self._root, first, self._windows, bind(self._looks(first))))
        return self._jobs.work(self._jobs.pending, encode)

    def _looks(self, photos: Sequence[Photo]) -> int:
        """How often the encoder looks at photos: once at each window."""
        return sum(map(self._windows_of, photos))

    def _windows_of(self, photo: Photo) -> int:
        if self._windows.count == 1:
            return 1
        return len(self._windows.over(photo.width, photo.height, self._size).places)
