"""The stage ``grid``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lazarus_pl.grid.grid_spec import GridSpec
from lazarus_pl.grid.run_result import RunResult
from lazarus_pl.pipeline.run.check_overrides import check_overrides
from lazarus_pl.pipeline.run.digests import file_digest, text_of
from lazarus_pl.pipeline.run.resumable_fit import EPOCHS
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.shipped_config import shipped_config

_SEED = "seed_everything"
# linear, MLP and attention, at three learning rates each
_NINE, _USUAL_EPOCHS = 9, (40 + 40 + 20) / 3


class GridStage(Stage):
    """Many heads on the features, ranked on val; test stays unread."""

    name = "grid"
    title = "many heads on the features, ranked on val"
    needs = ("extract",)

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self._path = Path(settings.grid.config or shipped_config("grids/heads_3x3.yaml"))
        self._spec = self._read()
        self._runs = list(self._spec.runs())
        for config in {run.config for run in self._runs}:
            asked = settings.grid.overrides
            check_overrides("--grid.overrides", config, asked, settings.cache)

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """The runs and their configs."""
        runs = [(run.name, run.overrides, text_of(run.config)) for run in self._runs]
        return [text_of(self._path), runs]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """As the audit tried the nine shipped runs, for as many epochs as there are."""
        nine = costs.get("nine heads")
        epochs = [run.value(EPOCHS) for run in self._runs]
        # a config that says nothing is told where it is trained
        known = [number for number in epochs if isinstance(number, int) and number > 0]
        if nine is None:
            return None
        longer = sum(known) / len(known) / _USUAL_EPOCHS if known else 1.0
        return nine * len(epochs) / _NINE * longer

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Trains the runs that are not trained yet, and again those that failed."""
        from lazarus_pl.grid.run_grid import run_grid

        folder = self.settings.out / self.name
        memory = self.settings.budget.gpu_memory
        summary = run_grid(self._spec, self.settings.cache, folder, False, memory)
        failed = self._failures(folder)
        best = folder / "best.ckpt"
        note = f"best on val: {summary['run']}, macro-F1 {summary['val_macro_f1']:.3f}"
        if failed:
            note += f"; {failed} of {len(self._runs)} runs failed, the same command tries again"
        files = (best, folder / "summary.json", folder / "leaderboard.csv")
        return StageOutcome(files, file_digest(best), note=note, retry=failed > 0)

    def _read(self) -> GridSpec:
        spec = GridSpec.from_file(self._path)
        axes = dict(spec.axes)
        if self.settings.seed is not None:
            axes[_SEED] = [self.settings.seed]
        overrides = {**spec.overrides, **self.settings.grid.overrides}
        return GridSpec(spec.configs, axes, overrides)

    def _failures(self, folder: Path) -> int:
        """Of this grid's runs: those of an earlier one may lie beside them."""
        results = (RunResult.read(folder / "runs" / run.name) for run in self._runs)
        return sum(result is None or bool(result.error) for result in results)
