"""What a policy does to a few photos of each class, on one sheet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from lazarus_pl.data.contact_sheet import contact_sheet
from lazarus_pl.data.decode import PhotoError, open_photo, read_bytes, stretch
from lazarus_pl.data.photo import Photo

if TYPE_CHECKING:
    from lazarus_pl.views.view_maker import ViewMaker

_PHOTOS = 2
_VIEWS = 5
_SIDE = 112


def view_sheet(maker: ViewMaker, root: Path, photos: Sequence[Photo]) -> Image.Image:
    """Draws a row a class: two photos, each with its first five views behind it.

    Args:
        maker: Makes the views.
        root: What the photos' paths are relative to.
        photos: The photos to choose from; of each class the first and the one in the middle.
    """
    classes: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        classes[photo.label].append(photo)
    rows: dict[str, list[npt.NDArray[np.uint8]]] = {}
    for label, same in sorted(classes.items()):
        chosen = same[:: max(1, -(-len(same) // _PHOTOS))]
        rows[label] = [picture for photo in chosen for picture in _pictures(maker, root, photo)]
    return contact_sheet(rows, _SIDE)


def _pictures(maker: ViewMaker, root: Path, photo: Photo) -> list[npt.NDArray[np.uint8]]:
    try:
        data = read_bytes(root / photo.path)
        plain = stretch(open_photo(data, at_least=_SIDE), _SIDE)
        return [plain, *maker.views(data, photo.sha256, range(1, _VIEWS + 1))]
    except PhotoError:
        # it will stand in the quarantine with its reason
        return []
