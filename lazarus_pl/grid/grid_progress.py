"""How far a grid is, whoever trains its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lazarus_pl.grid.grid_spec import GridRun
from lazarus_pl.grid.run_results import RunResults
from lazarus_pl.progress import Progress


class GridProgress:
    """Counts the runs that have a result, and weighs them by what they cost.

    Args:
        runs: Those that are to be trained.
        costs: What runs take, by name, in any unit; others are taken for usual ones.
        results: Where it is seen which runs are done, by this process or another one.
        progress: Is shown.
        tell: Called when runs are done.
    """

    def __init__(
        self,
        runs: Sequence[GridRun],
        costs: Mapping[str, float],
        results: RunResults,
        progress: Progress,
        tell: Callable[[], object],
    ) -> None:
        usual = sum(costs.values()) / len(costs) if costs else 1.0
        self._costs = {run.name: costs.get(run.name, usual) for run in runs}
        self._whole = max(sum(self._costs.values()), 1e-9)
        self._left = list(runs)
        self._results = results
        self._progress = progress
        self._tell = tell

    def of(self, stack: Sequence[GridRun]) -> Callable[[str, float], None]:
        """What is to be told of a stack: what is done, and which part of it is over."""

        def tell(note: str, part: float) -> None:
            self.look(note, stack, part)

        return tell

    def look(self, note: str | None = None, stack: Sequence[GridRun] = (), part: float = 0) -> None:
        """Counts what was done since the last look.

        Args:
            note: What is done now.
            stack: Runs that are trained now.
            part: Which part of that is over.
        """
        before = len(self._left)
        self._left = [run for run in self._left if self._results.read(run) is None]
        done = before - len(self._left)
        begun = part * self._cost([run for run in self._left if run in stack])
        over = 1 - (self._cost(self._left) - begun) / self._whole
        self._progress.advance(done, note, over)
        if done:
            self._tell()

    def _cost(self, runs: Sequence[GridRun]) -> float:
        return sum(self._costs[run.name] for run in runs)
