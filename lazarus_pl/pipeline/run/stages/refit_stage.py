"""The stage ``refit``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lazarus_pl.data.manifest import Manifest
from lazarus_pl.doubt.lend_doubt import lend_doubt
from lazarus_pl.fit_words import configured
from lazarus_pl.pipeline.run.candidate import Candidate
from lazarus_pl.pipeline.run.choice import Choice
from lazarus_pl.pipeline.run.digests import file_digest
from lazarus_pl.pipeline.run.refit_options import REFIT_SIDES
from lazarus_pl.pipeline.run.resumable_fit import ResumableFit
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stage_record import StageRecord
from lazarus_pl.pipeline.run.stages.finetune_stage import FinetuneStage, start_of
from lazarus_pl.pipeline.run.stages.views_head_stage import ViewsHeadStage

_CALLBACKS = "trainer.callbacks"


class RefitStage(Stage):
    """The training of the chosen model once more, on the photos of val too.

    Val has done its work when a model is chosen, and its photos are as good as any to learn from
    (Goodfellow et al. 2016, Deep Learning, 7.8, for early stopping; ``refit`` of scikit-learn's
    searches). The epochs are those of the first training, and the last of them counts, for nothing
    is left to choose by.
    """

    name = "refit"
    title = "train the chosen model again, on val too"
    needs = ("extract", "views", "choose")
    requires = ("choose",)
    can_be_cut = True

    @staticmethod
    def checkpoint_of(out: Path) -> Path:
        """What it gives, in the folder of a run."""
        return out / RefitStage.name / "refit.ckpt"

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """What is trained on."""
        return [REFIT_SIDES]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """As long as the longest training takes that may be chosen, and more by val's share."""
        asked = self.settings
        if not asked.finetune.skip:
            first = FinetuneStage(asked).estimate(costs)
        elif asked.has_views_head:
            first = ViewsHeadStage(asked).estimate(costs)
        else:
            first = costs.get("patch attention")
        return None if first is None else asked.refit_share * first

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Trains, or goes on with it."""
        out, choice = self.settings.out, Choice(self.settings.out)
        chosen = choice.model
        fitting = ResumableFit(
            self.name,
            "training on val too",
            config := _config(out, chosen),
            self._values(config, chosen, before),
            self.settings.cache,
            out,
            self.settings.budget.seconds,
            # a training that is cut short may be worse than the one that was chosen
            least_share=1.0,
        )
        estimate = self._as_before(chosen)
        schedule.revise(estimate)
        end = fitting.run(self.digest(before), estimate, allowed, schedule)
        if end.state != "done":
            return StageOutcome(state="left out", note=end.note)
        again = self.checkpoint_of(out)
        lend_doubt(choice.checkpoint, fitting.last, self.settings.cache, again)
        train, val = (len(Manifest.read(self.settings.cache).side(side)) for side in REFIT_SIDES)
        note = f"{train + val} photos instead of {train}"
        return StageOutcome([again], file_digest(again), note=note)

    def _as_before(self, chosen: Candidate) -> float:
        """Seconds, by those of the first training."""
        record = StageRecord.read(self.settings.out, chosen.stage)
        return self.settings.refit_share * (record.seconds if record else 0.0)

    def _values(self, config: Path, chosen: Candidate, before: Records) -> dict[str, Any]:
        """Where the training differs from the first one."""
        callbacks = configured(config, {}, _CALLBACKS) or []
        values: dict[str, Any] = {
            "data.init_args.train_on": list(REFIT_SIDES),
            # val can no longer say when it is enough
            _CALLBACKS: [item for item in callbacks if "EarlyStopping" not in item["class_path"]],
            # where the first one was continued
            "ckpt_path": "null",
        }
        if chosen.stage == FinetuneStage.name:
            values["model.init_args.start"] = str(start_of(self.settings.out, before))
        return values


def _config(out: Path, chosen: Candidate) -> Path:
    """What the chosen model was trained with."""
    if chosen.stage != "grid":
        return out / chosen.stage / "config.yaml"
    run = json.loads((out / "grid" / "summary.json").read_bytes())["run"]
    return out / "grid" / "runs" / str(run) / "config.yaml"
