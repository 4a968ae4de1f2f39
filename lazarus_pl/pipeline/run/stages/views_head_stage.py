"""The stage ``views_head``."""

from __future__ import annotations

from collections.abc import Mapping

from lazarus_pl.pipeline.run.chain import read_costs
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stages.fit_stage import FitStage

# than the head that the audit tried; measured
_SLOWER = 1.6


class ViewsHeadStage(FitStage):
    """A head that sees a training photo in another view each epoch."""

    name = "views_head"
    title = "a head that learns from the views"
    needs = ("extract", "views")
    requires = ("views",)
    doing = "training on views"
    shipped = "heads/attention_views.yaml"
    # it needs them: every epoch is another look
    least_share = 0.5

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """By what the audit tried of a head over patches."""
        return self.estimate_head(costs, _SLOWER)

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Trains, where there are views."""
        views = self.views(before)
        if not views:
            return StageOutcome(state="left out", note="left out, as the views were")
        return self.outcome(
            self.fit(before, allowed, schedule, read_costs(self.settings.out), views)
        )
