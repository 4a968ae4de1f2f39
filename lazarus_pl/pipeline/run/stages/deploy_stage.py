"""The stage ``deploy``."""

from __future__ import annotations

from pathlib import Path

from lazarus_pl.pipeline.run.refit_options import ALL_PHOTOS
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, is_done
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stages.refit_stage import RefitStage


class DeployStage(RefitStage):
    """The same once more on all photos, after test has been read: for photos to come."""

    name = "deploy"
    title = "train the chosen model again, on all photos"
    needs = (*RefitStage.needs, "refit")
    requires = ("choose", "refit", "test")
    sides = ALL_PHOTOS
    doing = "training on all photos"

    @property
    def checkpoint(self) -> Path:
        """What it gives."""
        return self.settings.deploy

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Trains, where test has judged such a training."""
        if not is_done(before, "refit"):
            note = "left out, as the training on val too was"
            return StageOutcome(state="left out", note=note)
        return super().run(before, allowed, schedule)
