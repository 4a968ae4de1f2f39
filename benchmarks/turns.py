"""Several ways to do something, timed in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Taken(NamedTuple):
    """What a step takes.

    Attributes:
        seconds: By the clock.
        processor: Seconds of the processor, all threads together.
    """

    seconds: float
    processor: float


def best_of_turns(steps: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Taken]:
    """The least that each step takes; a slow minute of the machine touches all of them.

    Args:
        steps: What is timed, by name.
        repeats: How many turns there are.
    """
    taken: dict[str, list[Taken]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            clock, processor = time.perf_counter(), time.process_time()
            step()
            taken[name].append(Taken(time.perf_counter() - clock, time.process_time() - processor))
    return {name: Taken(*map(min, zip(*turns, strict=True))) for name, turns in taken.items()}
