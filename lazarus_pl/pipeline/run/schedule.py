"""How long a run takes, as far as is known."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from lazarus_pl.duration import say_duration


class Schedule:
    """Keeps what each stage is thought to take, and what is left of the whole.

    Args:
        budget: Seconds that all stages together may take; None for no limit.
    """

    def __init__(self, budget: float | None = None) -> None:
        self.budget = budget
        self._estimates: dict[str, float | None] = {}
        self._spent = 0.0
        self._stage = ""
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds of the stage at work."""
        return time.monotonic() - self._began if self._stage else 0.0

    @property
    def spent(self) -> float:
        """Seconds of all stages so far, those of earlier calls with them."""
        return self._spent + self.elapsed

    def expect(self, estimates: Mapping[str, float | None]) -> None:
        """Takes what the stages that are still to be done are thought to take."""
        self._estimates = dict(estimates)

    def drop(self, stages: Iterable[str]) -> None:
        """Some of them will not be done."""
        for stage in stages:
            self._estimates.pop(stage, None)

    def begin(self, stage: str) -> None:
        """A stage begins."""
        self._stage, self._began = stage, time.monotonic()

    def end(self, stage: str, seconds: float) -> None:
        """A stage is over, in this call or in an earlier one."""
        self._stage = ""
        self._spent += seconds
        self._estimates.pop(stage, None)

    def revise(self, seconds: float) -> None:
        """The stage at work turns out to take this long as a whole."""
        if self._stage:
            self._estimates[self._stage] = seconds

    def allowed(self, later: Iterable[str]) -> float | None:
        """Seconds that the stage at work may take, so that later ones have theirs."""
        if self.budget is None:
            return None
        reserved = sum(self._estimates.get(stage) or 0.0 for stage in later)
        return max(0.0, self.budget - self._spent - reserved)

    @property
    def left(self) -> float | None:
        """Seconds that all that is not done will take; None where that is not known of all."""
        known = {name: value for name, value in self._estimates.items() if value is not None}
        if not known or len(known) < len(self._estimates):
            return None
        later = sum(value for name, value in known.items() if name != self._stage)
        return later + max(0.0, known.get(self._stage, 0.0) - self.elapsed)

    def __str__(self) -> str:
        """What is left of the whole, for a progress bar."""
        left = self.left
        return "" if left is None else f"about {say_duration(left)} left for the whole"
