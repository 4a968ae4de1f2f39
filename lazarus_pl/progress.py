"""How far a long step is, on a terminal and in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from lazarus_pl.duration import say_duration

_SECONDS_BETWEEN_LINES = 10.0
# the least that says something of the rest
_SECONDS_JUDGED_BY = 5.0
_BESIDE: ContextVar[Callable[[], str] | None] = ContextVar("_BESIDE", default=None)


@contextmanager
def show_beside(text: Callable[[], str]) -> Iterator[None]:
    """Shows more beside every bar and line of this thread, such as how far the whole chain is.

    Args:
        text: Asked whenever something is shown.
    """
    token = _BESIDE.set(text)
    try:
        yield
    finally:
        _BESIDE.reset(token)


class Progress:
    """A bar on a terminal, a line every ten seconds elsewhere; both on standard error.

    Args:
        title: What is being done.
        total: Number of steps.
        unit: What a step is, in the plural.

    Example:
        >>> with Progress("extracting", total=2, unit="photos") as progress:
        ...     progress.advance()
        ...     progress.advance(note="job 1 of 1")
    """

    def __init__(self, title: str, total: int, unit: str) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._done = 0
        self._share = 0.0
        # the first step carries the start-up, and says nothing of what the others take
        self._first: tuple[float, float] | None = None
        self._note = ""
        self._started = self._last_line = time.monotonic()
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]} {task.fields[rate]} {task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(title, total=total, count="", rate="", note="")

    def __enter__(self) -> Progress:
        """Shows the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Takes the bar away."""
        self._bar.stop()

    @property
    def rate(self) -> float:
        """Steps a second so far."""
        return self._done / max(time.monotonic() - self._started, 1e-9)

    def advance(self, steps: int = 1, note: str | None = None, share: float | None = None) -> None:
        """Counts steps as done.

        Args:
            steps: How many.
            note: Shown beside the bar from now on.
            share: Of the time that is over by now, where steps differ in what they take.
        """
        self._done += steps
        self._note = self._note if note is None else note
        self._share = self._done / max(self._total, 1) if share is None else share
        # it falls back where what an earlier call has done is counted first
        if self._share and (self._first is None or self._share < self._first[1]):
            self._first = time.monotonic(), self._share
        rate = f"{self.rate:,.0f} {self._unit}/s" if self.rate >= 1 else ""
        self._bar.update(
            self._task,
            completed=self._share * self._total,
            count=f"{self._done}/{self._total}",
            rate=rate,
            note=self._shown_note(),
        )
        if self._bar.disable and time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._write_line(rate)

    def _write_line(self, rate: str) -> None:
        parts = [f"{self._title}: {self._done}/{self._total} {self._unit}", rate, self._time_left()]
        line = ", ".join(part for part in parts if part)
        sys.stderr.write(f"{line} {self._shown_note()}".rstrip() + "\n")

    def _time_left(self) -> str:
        if self._first is None:
            return ""
        began, before = self._first
        passed, over = time.monotonic() - began, self._share - before
        if passed < _SECONDS_JUDGED_BY or not over:
            return ""
        return f"{say_duration(passed * (1 - self._share) / over)} left"

    def _shown_note(self) -> str:
        ask = _BESIDE.get()
        beside = ask() if ask else ""
        return " ".join(part for part in (self._note, f"({beside})" if beside else "") if part)
