"""Parts of a grid that two processes take in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod

from lazarus_pl.grid.built_run import BuiltRun
from lazarus_pl.grid.grid_spec import GridRun

# seconds of one core that an epoch takes beside its steps
_EPOCH = 0.06
# float16 values of features that a core trains on in a second; of the order is enough
_VALUES = 1e8
# less is not worth a process, nor a pass over the data of its own
_LEAST = 20.0

Stack = list[GridRun]


def cut_stacks(
    stacks: Sequence[Stack], built: Mapping[str, BuiltRun], threads: int
) -> list[Stack] | None:
    """Cuts stacks of runs so that two processes can share them.

    Args:
        stacks: Runs that can be trained together.
        built: Those runs that are known, by name.
        threads: Cores that there are.

    Returns:
        Parts of about equal cost, the largest first; None where a second process would not pay, or
        where trainers use a GPU.
    """
    if threads < 2 or any(not _is_on_cpu(one) for one in built.values()):
        return None
    costs = {name: cost_of(one) for name, one in built.items()}
    parts = [part for stack in stacks for part in _cut(stack, _sum(stack, costs))]
    parts.sort(key=lambda part: -_sum(part, costs))
    # the first is for one process: is there enough for the other
    return parts if _sum([run for part in parts[1:] for run in part], costs) >= _LEAST else None


def cost_of(built: BuiltRun) -> float:
    """Seconds of one core that a run takes, about; enough to compare runs."""
    data = built.datamodule
    values: int = sum(map(prod, data.feature_shapes.values()))
    epochs: int = built.trainer.max_epochs or 0
    photos: int = sum(data.class_counts)
    return epochs * (_EPOCH + photos * values / _VALUES)


def _cut(stack: Stack, cost: float) -> list[Stack]:
    count = max(1, min(len(stack), int(cost / _LEAST)))
    places = [len(stack) * number // count for number in range(count + 1)]
    return [stack[start:end] for start, end in pairwise(places)]


def _sum(runs: Sequence[GridRun], costs: Mapping[str, float]) -> float:
    return sum(costs.get(run.name, 0.0) for run in runs)


def _is_on_cpu(built: BuiltRun) -> bool:
    return built.trainer.strategy.root_device.type == "cpu"
