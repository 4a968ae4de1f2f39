"""Photos read no larger than a background needs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lazarus_pl.data.decode import open_photo, read_bytes


def reduced(path: Path, longest: int) -> npt.NDArray[np.uint8]:
    """Reads a photo and reduces it, never enlarging it.

    Args:
        path: Its file.
        longest: Most pixels of its longer side.

    Returns:
        RGB pixels ``(H, W, 3)``.

    Raises:
        PhotoError: If it is no sound photo.
    """
    photo = open_photo(read_bytes(path), at_least=longest)
    photo.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    return np.asarray(photo, dtype=np.uint8)
