"""The stage ``refit``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.split.split_spec import Side
from lazarus_pl.doubt.lend_doubt import lend_doubt
from lazarus_pl.fit_words import configured
from lazarus_pl.grid.run_result import RunResult
from lazarus_pl.pipeline.run.candidate import Candidate
from lazarus_pl.pipeline.run.choice import Choice
from lazarus_pl.pipeline.run.digests import file_digest
from lazarus_pl.pipeline.run.resumable_fit import ResumableFit
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stage_record import StageRecord
from lazarus_pl.pipeline.run.stages.finetune_stage import FinetuneStage, start_of
from lazarus_pl.pipeline.run.stages.grid_stage import GridStage
from lazarus_pl.pipeline.run.stages.views_head_stage import ViewsHeadStage

_CALLBACKS = "trainer.callbacks"


class RefitStage(Stage):
    """The training of the chosen model once more, on the photos of val too.

    Val has done its work when a model is chosen, and its photos are as good as any to learn from
    (Goodfellow et al. 2016, Deep Learning, 7.8, for early stopping; ``refit`` of scikit-learn's
    searches). The epochs are those of the first training, and the last of them counts, for nothing
    is left to choose by.

    Attributes:
        sides: Of the split, whose photos are trained on.
        doing: Shown beside the progress.
    """

    name = "refit"
    title = "train the chosen model again, on val too"
    needs: ClassVar[tuple[str, ...]] = ("extract", "views", "choose")
    requires: tuple[str, ...] = ("choose",)
    can_be_cut = True
    sides: ClassVar[tuple[Side, ...]] = ("train", "val")
    doing: ClassVar[str] = "training on val too"

    @staticmethod
    def checkpoint_of(out: Path) -> Path:
        """What it gives, in the folder of a run."""
        return out / "refit" / "refit.ckpt"

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """What is trained on."""
        return [self.sides]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """As long as the longest training takes that may be chosen, and more by val's share."""
        asked = self.settings
        if not asked.finetune.skip:
            first = FinetuneStage(asked).estimate(costs)
        elif asked.has_views_head:
            first = ViewsHeadStage(asked).estimate(costs)
        else:
            first = costs.get("patch attention")
        return None if first is None else self._longer * first

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Trains, or goes on with it."""
        out, choice = self.settings.out, Choice(self.settings.out)
        chosen = choice.model
        fitting = ResumableFit(
            self.name,
            self.doing,
            config := _folder(out, chosen) / "config.yaml",
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
        photos = [len(Manifest.read(self.settings.cache).side(side)) for side in self.sides]
        note = f"{sum(photos)} photos instead of {photos[0]}"
        return StageOutcome([again], file_digest(again), note=note)

    @property
    def _longer(self) -> float:
        """Photos that are trained on, as a share of those of the first training."""
        split = self.settings.split
        return split.share(self.sides) / split.share(("train",))

    def _as_before(self, chosen: Candidate) -> float:
        """Seconds, by those of the first training."""
        out = self.settings.out
        of_grid = chosen.stage == GridStage.name
        record = RunResult.read(_folder(out, chosen)) if of_grid else None
        before = record or StageRecord.read(out, chosen.stage)
        return self._longer * (before.seconds if before else 0.0)

    def _values(self, config: Path, chosen: Candidate, before: Records) -> dict[str, Any]:
        """Where the training differs from the first one."""
        callbacks = configured(config, {}, _CALLBACKS) or []
        values: dict[str, Any] = {
            "data.init_args.train_on": list(self.sides),
            # val can no longer say when it is enough
            _CALLBACKS: [item for item in callbacks if "EarlyStopping" not in item["class_path"]],
            # where the first one was continued
            "ckpt_path": "null",
        }
        if chosen.stage == FinetuneStage.name:
            values["model.init_args.start"] = str(start_of(self.settings.out, before))
        return values


def _folder(out: Path, chosen: Candidate) -> Path:
    """Where the chosen model was trained."""
    if chosen.stage != GridStage.name:
        return out / chosen.stage
    run = json.loads((out / "grid" / "summary.json").read_bytes())["run"]
    return out / "grid" / "runs" / str(run)
