"""A few evidence maps as a figure for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure


def evidence_figure(maps: npt.NDArray[np.float32], names: Sequence[str]) -> Figure:
    """Draws maps side by side on one scale, so that a pale one is pale.

    Args:
        maps: Log-odds of each patch, ``(N, H, W)``; NaN where there is none.
        names: The class that each is evidence of.
    """
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.6 * rows), layout="constrained")
    limit = float(np.nanmax(np.abs(maps))) or 1.0
    for place, (values, name) in enumerate(zip(maps, names, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, place)
        image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        # a dollar in a name begins no formula
        axes.set_title(name.replace("___", " "), fontsize=7, parse_math=False)
        axes.set_axis_off()
    figure.colorbar(image, ax=figure.axes, label="for the class | for sound tissue", shrink=0.8)
    return figure
