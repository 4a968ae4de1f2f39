"""Which runs of a grid a second process trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from lazarus_pl.grid.built_run import BuiltRun
from lazarus_pl.grid.grid_spec import GridRun

# seconds of one core that an epoch takes beside its steps, and that a process takes to start
_EPOCH, _STARTING = 0.09, 6.0
# float16 values of features that a core trains on in a second; of the order is enough
_VALUES = 1e8
# less is not worth a process
_LEAST = 20.0


def share_out(runs: Sequence[GridRun], built: Mapping[str, BuiltRun], threads: int) -> set[str]:
    """Shares runs out between this process and a second one, so that both end at one time.

    Args:
        runs: That are left to train.
        built: Those of them that are known, by name.
        threads: Cores that there are.

    Returns:
        Names of the runs of the second process; none where it would not pay, or where trainers use
        a GPU.
    """
    costs = {run.name: cost_of(built[run.name]) for run in runs if run.name in built}
    if threads < 2 or any(not _is_on_cpu(one) for one in built.values()):
        return set()
    here, there = 0.0, _STARTING
    second: set[str] = set()
    for name in sorted(costs, key=lambda each: -costs[each]):
        if here <= there:
            here += costs[name]
            continue
        there += costs[name]
        second.add(name)
    return second if there - _STARTING >= _LEAST else set()


def _is_on_cpu(built: BuiltRun) -> bool:
    return built.trainer.strategy.root_device.type == "cpu"


def cost_of(built: BuiltRun) -> float:
    """Seconds of one core that a run takes, about; enough to compare runs."""
    data = built.datamodule
    values: int = sum(map(prod, data.feature_shapes.values()))
    epochs: int = built.trainer.max_epochs or 0
    photos: int = sum(data.class_counts)
    return epochs * (_EPOCH + photos * values / _VALUES)
