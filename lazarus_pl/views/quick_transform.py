"""torchvision's transforms on OpenCV, where the results agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from torch import Tensor, nn
from torchvision.transforms import v2

from lazarus_pl.views.colours import Pixels, brightness, contrast, hue, saturation
from lazarus_pl.views.layout import as_photo, as_tensor

# in the order of torchvision's numbers
_CHANGES = (brightness, contrast, saturation, hue)
_WARPS = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR}


class QuickTransform(nn.Module):
    """Draws as a transform of torchvision does, and does with OpenCV what it drew.

    That is four to twenty times as fast on a photo. Levels differ by one of 256 at most, after a
    change of hue by up to four, and where a turned photo meets the black around it, which
    torchvision darkens twice. What OpenCV would do otherwise is left to torchvision.

    Args:
        theirs: One of the transforms in :data:`KERNELS`.
    """

    def __init__(self, theirs: nn.Module) -> None:
        super().__init__()
        self._theirs: Any = theirs
        self._kernel = KERNELS[type(theirs)]

    def forward(self, pixels: Tensor) -> Tensor:
        """The photo, uint8 ``(3, H, W)``, after the transform."""
        drawn = self._theirs.make_params([pixels])
        done = self._kernel(self._theirs, as_photo(pixels), drawn)
        if done is not None:
            return as_tensor(np.asarray(done, np.uint8))
        left: Tensor = self._theirs.transform(pixels, drawn)
        return left


def _resized_crop(theirs: Any, photo: Pixels, drawn: Mapping[str, Any]) -> object:  # noqa: ANN401
    """Enlarges; a reduction has to be antialiased."""
    top, left, height, width = (int(drawn[key]) for key in ("top", "left", "height", "width"))
    if height > theirs.size[0] or width > theirs.size[1]:
        return None
    if _interpolation(theirs) != "bilinear":
        return None
    part = photo[top : top + height, left : left + width]
    return cv2.resize(part, theirs.size[::-1], interpolation=cv2.INTER_LINEAR)


def _rotation(theirs: Any, photo: Pixels, drawn: Mapping[str, Any]) -> object:  # noqa: ANN401
    """Turns about the centre, before black."""
    how = _interpolation(theirs)
    if theirs.expand or theirs.center or theirs.fill or how not in _WARPS:
        return None
    height, width = photo.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, float(drawn["angle"]), 1.0)
    return cv2.warpAffine(photo, matrix, (width, height), flags=_WARPS[how])


def _jitter(theirs: Any, photo: Pixels, drawn: Mapping[str, Any]) -> object:  # noqa: ANN401
    for number in drawn["fn_idx"].tolist():
        change = _CHANGES[number]
        factor = drawn[f"{change.__name__}_factor"]
        if factor is not None:
            photo = change(photo, float(factor))
    return photo


def _blur(theirs: Any, photo: Pixels, drawn: Mapping[str, Any]) -> object:  # noqa: ANN401
    across, down = map(float, drawn["sigma"])
    size, border = tuple(theirs.kernel_size), cv2.BORDER_REFLECT_101
    return cv2.GaussianBlur(photo, size, across, sigmaY=down, borderType=border)


def _interpolation(theirs: Any) -> str:  # noqa: ANN401
    """Its word; some versions of torchvision hold the word, others an enumeration of them."""
    return str(getattr(theirs.interpolation, "value", theirs.interpolation))


# each gives pixels, or None for what is torchvision's to do
KERNELS: Mapping[type[nn.Module], Callable[[Any, Pixels, Mapping[str, Any]], object]] = {
    v2.RandomResizedCrop: _resized_crop,
    v2.RandomRotation: _rotation,
    v2.ColorJitter: _jitter,
    v2.GaussianBlur: _blur,
}
