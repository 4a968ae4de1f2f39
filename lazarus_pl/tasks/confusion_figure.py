"""A confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_figure(counts: npt.NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Draws which class was taken for which.

    Colours are shares of the true class, so that rare classes can be read; numbers are photos.

    Args:
        counts: Photos by true class (row) and predicted class (column).
        class_names: Names in the order of the indices.
    """
    from matplotlib.figure import Figure

    side = max(4.0, 1.5 + 0.45 * len(class_names))
    figure = Figure(figsize=(side + 1.5, side), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    places = range(len(class_names))
    # a dollar in a name begins no formula
    told = {"parse_math": False}
    axes.set_xticks(places, class_names, rotation=45, ha="right", rotation_mode="anchor", **told)
    axes.set_yticks(places, class_names, **told)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure
