"""Threads or processes that views are made in."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_pl.usable_cores import usable_cores

# making a view holds Python's lock half of the time: more threads take it from each other, and
# from the one that feeds the encoder
_THREADS, _MOST_OF_THREADS = 4, 2.0
# each takes some 500 MB with torch; with fewer cores they are no quicker
_PROCESSES, _CORES = 6, 4
# to start processes, which import torch, and what each of them does of a core's work then
_STARTING, _OF_A_CORE = 8.0, 0.6
# from so many views on that is worth while
_MANY = 10_000


@dataclass(frozen=True)
class ViewWorkers:
    """How views are made beside the encoder, as ``benchmarks/views.py`` measures it.

    Attributes:
        count: Of the threads or processes.
        processes: Whether they are processes.
    """

    count: int
    processes: bool

    @classmethod
    def of(cls, views: int) -> ViewWorkers:
        """What is quickest on this machine.

        Args:
            views: How many are to be made.
        """
        cores = usable_cores()
        if views >= _MANY and cores >= _CORES:
            return cls(min(cores, _PROCESSES), processes=True)
        return cls(min(cores, _THREADS), processes=False)

    def seconds(self, views: int, one: float) -> float:
        """What making views takes, about.

        Args:
            views: How many are to be made.
            one: Seconds that one takes alone.
        """
        if self.processes:
            return _STARTING + views * one / (_OF_A_CORE * self.count)
        return views * one / min(self.count, _MOST_OF_THREADS)
