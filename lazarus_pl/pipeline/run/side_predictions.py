"""What a checkpoint says of all photos of one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.table import write_table
from lazarus_pl.errors import LazarusError


@dataclass(frozen=True)
class SidePredictions:
    """Photos with what is true and what is said of them.

    Attributes:
        class_names: In the order of the indices.
        files: Paths relative to the data's folder.
        groups: Leaf group of each photo.
        target: True class indices ``(N,)``.
        probability: Of each class ``(N, classes)``.
    """

    class_names: Sequence[str]
    files: Sequence[str]
    groups: Sequence[str]
    target: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float32]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Index of the likeliest class ``(N,)``."""
        best: npt.NDArray[np.int64] = self.probability.argmax(axis=1)
        return best

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """Probability of the likeliest class ``(N,)``."""
        most: npt.NDArray[np.float32] = self.probability.max(axis=1)
        return most

    def write(self, path: Path) -> None:
        """Writes file, label, group, predicted, probability, and one column a class."""
        columns = ("file", "label", "group", "predicted", "probability", *self.class_names)
        names = self.class_names
        rows = (
            (
                file,
                names[label],
                group,
                names[said],
                f"{row[said]:.6f}",
                *(f"{value:.6f}" for value in row),
            )
            for file, label, group, said, row in zip(
                self.files, self.target, self.groups, self.predicted, self.probability, strict=True
            )
        )
        write_table(path, columns, rows)


def predict_side(checkpoint: Path, cache: Path, side: str) -> SidePredictions:
    """Predicts ``val`` or ``test`` of a cache with a checkpoint, calibrated where it is.

    Raises:
        LazarusError: If the checkpoint or the cache cannot be used, or the side has no photos.
    """
    from lazarus_pl.doubt.doubt import Doubt
    from lazarus_pl.doubt.readings import Readings
    from lazarus_pl.encoder.find_device import find_device
    from lazarus_pl.encoder.without_tf32 import without_tf32
    from lazarus_pl.tasks.load_task import load_task

    task = load_task(checkpoint).to(find_device("auto"))
    # what is reported is what a CPU would answer
    with without_tf32():
        readings = Readings.of_side(task, cache, side)
    if readings.groups is None:
        raise LazarusError(f"the split of '{cache}' has no {side} photos")
    doubt = Doubt.of_checkpoint(checkpoint)
    chance = doubt.probabilities(readings.logits) if doubt else readings.logits.softmax(dim=-1)
    return SidePredictions(
        class_names=task.class_names,
        files=readings.files,
        groups=readings.groups,
        target=readings.target.numpy(),
        probability=chance.numpy(),
    )
