"""Parts of a grid that two processes take in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from lazarus_pl.grid.built_run import BuiltRun
from lazarus_pl.grid.grid_spec import GridRun
from lazarus_pl.grid.run_cost import run_cost
from lazarus_pl.two_processes import part_count, pays


def cut_stacks(
    stacks: Sequence[list[GridRun]], built: Mapping[str, BuiltRun], threads: int
) -> list[list[GridRun]] | None:
    """Cuts stacks of runs so that two processes can share them.

    Args:
        stacks: Runs that can be trained together.
        built: Those runs that could be built, by name.
        threads: Cores that there are.

    Returns:
        Parts of about equal cost, the largest first; None where a second process would not pay,
        where a trainer uses a GPU, or where it is not known what one uses.
    """
    if any(run.name not in built for stack in stacks for run in stack):
        return None
    costs = {name: run_cost(one) for name, one in built.items()}
    parts = [part for stack in stacks for part in _cut(stack, _sum(stack, costs))]
    parts.sort(key=lambda part: -_sum(part, costs))
    devices = [one.trainer.strategy.root_device for one in built.values()]
    return parts if pays([_sum(part, costs) for part in parts], devices, threads) else None


def _cut(stack: list[GridRun], cost: float) -> list[list[GridRun]]:
    count = part_count(cost, len(stack))
    places = [len(stack) * number // count for number in range(count + 1)]
    return [stack[start:end] for start, end in pairwise(places)]


def _sum(runs: Sequence[GridRun], costs: Mapping[str, float]) -> float:
    return sum(costs[run.name] for run in runs)
