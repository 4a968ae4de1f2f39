"""What was read for one row of a micro-job."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class ReadRow(NamedTuple):
    """The pixels of a row, or why there are none.

    Attributes:
        job: Number of the job.
        row: Which of its rows.
        pixels: uint8 ``(H, W, 3)``; None where there are none.
        reason: Why the photo cannot be used.
        gone: Whether its file vanished or changed since it was listed, or cannot be read now.
    """

    job: int
    row: int
    pixels: npt.NDArray[np.uint8] | None
    reason: str = ""
    gone: bool = False
