"""One photo's rows in a micro-job."""

from __future__ import annotations

from typing import NamedTuple

from lazarus_pl.data.photo import Photo


class ReadTask(NamedTuple):
    """What is to be read of one photo.

    Attributes:
        job: Number of the job.
        row: The first of the photo's rows.
        photo: None where the dataset has no such photo any more.
        views: Number of the view of each row.
    """

    job: int
    row: int
    photo: Photo | None
    views: tuple[int, ...]
