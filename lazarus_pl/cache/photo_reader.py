"""Photos to what the encoder is shown of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.read_row import ReadRow
from lazarus_pl.cache.read_task import ReadTask
from lazarus_pl.data.decode import PhotoError, read_bytes
from lazarus_pl.data.photo import Photo
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    from lazarus_pl.views.view_maker import ViewMaker


@dataclass(frozen=True)
class PhotoReader:
    """Reads photos, in a thread or in a process of its own.

    Attributes:
        root: What the photos' paths are relative to.
        windows: How large photos are read; views are always whole.
        size: Side of a window in pixels.
        interpolation: Of the resize.
        maker: Makes the views, if views are read.
    """

    root: Path
    windows: WindowsSpec
    size: int
    interpolation: str
    maker: ViewMaker | None = None

    def __call__(self, task: ReadTask) -> list[ReadRow]:
        """The rows of one photo; one that cannot be used says why."""
        job, first, photo, views = task
        places = range(first, first + len(views))
        data = self._read(photo)
        if photo is None or data is None:
            return [ReadRow(job, row, None, gone=True) for row in places]
        try:
            pixels = self._pixels(data, photo, views)
        except PhotoError as error:
            return [ReadRow(job, row, None, str(error), error.may_pass) for row in places]
        return [ReadRow(job, row, seen) for row, seen in zip(places, pixels, strict=True)]

    def _read(self, photo: Photo | None) -> bytes | None:
        """A photo's bytes, or None if they are not what they were at the scan."""
        if photo is None:
            return None
        try:
            data = read_bytes(self.root / photo.path)
        except PhotoError:
            return None
        return data if hashlib.sha256(data).hexdigest() == photo.sha256 else None

    def _pixels(
        self, data: bytes, photo: Photo, views: Sequence[int]
    ) -> list[npt.NDArray[np.uint8]]:
        if self.maker is not None:
            try:
                return self.maker.views(data, photo.sha256, views)
            except LazarusError as error:
                raise LazarusError(
                    f"{error}; it is '{photo.path}': leave it out with --corrections, or change "
                    "the policy"
                ) from error
        return [self.windows.read(data, self.size, self.interpolation)] * len(views)
