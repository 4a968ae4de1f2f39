"""How unlike its background each pixel is, whatever light falls on it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# Photos of the darkest tones have noisy hues: brightness (sum of R, G, B, each 0 to 1) is damped
_DAMPING = 1.5
# Otsu's threshold lies midway; edges of leaves are blends, and lesions are less colourful
_LENIENCE = 0.7


class LeafScore(NamedTuple):
    """What separates a leaf from its background.

    Attributes:
        values: Score of each pixel, 0 where it looks like background, ``(H, W)``.
        threshold: Midway between the two.
        unlike: How far each pixel is from looking like background, in any direction of colour.
    """

    values: Field
    threshold: float
    unlike: Field

    @property
    def above(self) -> Bools:
        """What looks like leaf, ``(H, W)``."""
        above: Bools = self.values > _LENIENCE * self.threshold
        return above

    @property
    def background(self) -> Bools:
        """What looks like background, and may be leaf, ``(H, W)``."""
        background: Bools = self.values <= self.threshold
        return background

    def lowered(self) -> LeafScore:
        """The same with a threshold that parts what is below this one once more."""
        return self._replace(threshold=otsu(self.values[self.background]))


class Colours:
    """A photo's colours in the three directions that tell leaves from what they lie on.

    Excess green ``2G - R - B`` (`Woebbecke et al. 1995
    <https://doi.org/10.13031/2013.27838>`_) is high for green, excess yellow ``R + G - 2B`` for
    yellow and brown; stone, cloth, paper and their bluish shadows are low in both.

    Args:
        pixels: RGB uint8 ``(H, W, 3)``.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        # the median takes the grain off the ground and leaves edges where they are
        calm = cv2.medianBlur(np.ascontiguousarray(pixels), 5).astype(np.float32)
        calm /= 255
        red, green, blue = cv2.split(calm)
        self.brightness: Field = red + green + blue
        self.green: Field = 2 * green - red - blue
        self.yellow: Field = red + green - 2 * blue
        self._damped: Field = np.reciprocal(self.brightness + np.float32(_DAMPING))
        self._strongest: Field = np.maximum(np.maximum(red, green), blue)

    def leafiness(self) -> Field:
        """Green over blue, whatever the background: a first guess, ``(H, W)``."""
        leafiness: Field = (self.green + self.yellow) * self._damped
        return leafiness

    def blacked_out(self) -> Bools:
        """What was painted black: no shadow in daylight is as dark, ``(H, W)``."""
        blacked_out: Bools = self._strongest <= 0.05
        return blacked_out

    def score_against_black(self) -> LeafScore:
        """Score where the background was painted black."""
        values: Field = np.clip(self._strongest * 4, 0, 1, dtype=np.float32)
        return LeafScore(values, 0.4, values)

    def score_against(self, background: Bools) -> LeafScore:
        """Score of each pixel against what is taken for background.

        Under changing light the colours of one surface lie on a line through RGB, in full sun as
        in a cast shadow. The line is fitted to the background; how far a pixel lies off it towards
        green and yellow is its score.

        Args:
            background: Where there is background, for the most part, ``(H, W)``.
        """
        green = self._off_line(self.green, background)
        yellow = self._off_line(self.yellow, background)
        unlike: Field = cv2.magnitude(green, yellow) * self._damped
        values: Field = cv2.magnitude(np.maximum(green, 0), np.maximum(yellow, 0)) * self._damped
        return LeafScore(values, otsu(values[::2, ::2]), unlike)

    def _off_line(self, colour: Field, background: Bools) -> Field:
        thinned = background[::3, ::3]
        slope, offset = _fit_line(self.brightness[::3, ::3][thinned], colour[::3, ::3][thinned])
        off_line: Field = colour - slope * self.brightness - offset
        return off_line


def otsu(values: Field) -> float:
    """The threshold that parts values best in two classes, on a histogram of 256 bins.

    `Otsu 1979 <https://doi.org/10.1109/TSMC.1979.4310076>`_.
    """
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-6:
        return high
    bins = cv2.convertScaleAbs(values.reshape(1, -1) - np.float32(low), alpha=255 / (high - low))
    threshold, _ = cv2.threshold(bins, 0, 255, cv2.THRESH_OTSU)
    return low + float(threshold) / 255 * (high - low)


def _fit_line(brightness: Field, colour: Field) -> tuple[np.float32, np.float32]:
    """Least squares, leaning towards a level line and towards black without a hue.

    Outliers, such as leaf in the background, are left out of a second fit.
    """
    if not len(brightness):
        return np.float32(0), np.float32(0)
    kept = np.ones(len(brightness), dtype=np.bool_)
    slope = offset = np.float32(0)
    for _ in range(2):
        x, y = brightness[kept], colour[kept]
        to_black = 1.05
        mean_x, mean_y = x.mean() / to_black, y.mean() / to_black
        spread = (x * x).mean() / to_black - mean_x * mean_x
        together = (x * y).mean() / to_black - mean_x * mean_y
        slope = np.float32(together / (spread + 0.01))
        offset = np.float32(mean_y - slope * mean_x)
        off = np.abs(colour - slope * brightness - offset)
        kept = off <= 4 * np.median(off) + 0.015
    return slope, offset
