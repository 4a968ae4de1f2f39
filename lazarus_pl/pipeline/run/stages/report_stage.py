"""The stage ``report``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome


class ReportStage(Stage):
    """A page for people, a summary for programs."""

    name = "report"
    title = "report.html and summary.json"
    vital = True

    def digest(self, before: Records) -> str:
        """Depends on all that any stage did."""
        from lazarus_pl.pipeline.run.digests import digest_of

        seen = [(r.stage, r.state, r.digest, r.output, r.seconds, r.note) for r in before.values()]
        return digest_of(super().digest(before), seen)

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """The budget that the times are held against."""
        return self.settings.budget

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """Little."""
        return 5.0

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Writes both."""
        from lazarus_pl.pipeline.run.report.write_report import write_report

        return StageOutcome(write_report(self.settings, before))
