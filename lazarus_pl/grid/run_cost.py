"""What a run takes."""

from __future__ import annotations

from math import prod

from lazarus_pl.grid.built_run import BuiltRun
from lazarus_pl.two_processes import training_cost


def run_cost(built: BuiltRun) -> float:
    """Seconds of one core that a run takes, about; enough to compare runs."""
    data = built.datamodule
    # there may be no limit
    epochs = max(1, built.trainer.max_epochs or 1)
    return training_cost(
        epochs, sum(data.class_counts), sum(map(prod, data.feature_shapes.values()))
    )
