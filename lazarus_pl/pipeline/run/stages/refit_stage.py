"""The stage ``refit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.split.split_spec import Side
from lazarus_pl.doubt.lend_doubt import lend_doubt
from lazarus_pl.fit_words import CALLBACKS, callbacks_of, configured
from lazarus_pl.pipeline.run.choice import Choice
from lazarus_pl.pipeline.run.digests import file_digest
from lazarus_pl.pipeline.run.extract_photos import extract_photos
from lazarus_pl.pipeline.run.refit_options import BEFORE_TEST
from lazarus_pl.pipeline.run.resumable_fit import EPOCHS, ResumableFit
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.side_predictions import predict_side
from lazarus_pl.pipeline.run.side_scores import SideScores
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stage_record import StageRecord
from lazarus_pl.pipeline.run.stages.finetune_stage import FinetuneStage, start_of
from lazarus_pl.pipeline.run.stages.fit_stage import VIEWS, VIEWS_POLICY
from lazarus_pl.pipeline.run.stages.views_head_stage import ViewsHeadStage

_TRAIN_ON = "data.init_args.train_on"
# a class of the user's own need not know sides
_KNOWING = ("CachedFeatureDataModule", "PatchGridDataModule")


class RefitStage(Stage):
    """The training of the chosen model once more, on the photos of val too.

    Val has done its work when a model is chosen, and its photos are as good as any to learn from.
    The epochs are as many as the chosen checkpoint had, and the last of them counts, for nothing
    is left to choose by (Goodfellow et al. 2016, Deep Learning, algorithm 7.2).

    Attributes:
        sides: Of the split, whose photos are trained on.
        doing: Shown beside the progress.
    """

    name = "refit"
    title = "train the chosen model again, on val too"
    needs = ("extract", "views", "choose")
    requires: tuple[str, ...] = ("choose",)
    can_be_cut = True
    sides: ClassVar[Sequence[Side]] = BEFORE_TEST
    doing: ClassVar[str] = "training on val too"

    @staticmethod
    def checkpoint_of(out: Path) -> Path:
        """What it gives, in the folder of a run."""
        return out / "refit" / "refit.ckpt"

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """What is trained on."""
        return [self.sides]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """As long as the last of the trainings takes that may be chosen, for more photos."""
        asked = self.settings
        if not asked.finetune.skip:
            first = FinetuneStage(asked).estimate(costs)
        elif asked.has_views_head:
            first = ViewsHeadStage(asked).estimate(costs)
        else:
            first = costs.get("patch attention")
        split = asked.split
        return first and first * split.share(self.sides) / split.share(("train",))

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Trains, or goes on with it."""
        asked, choice = self.settings, Choice(self.settings.out)
        again = self.checkpoint_of(asked.out)
        again.unlink(missing_ok=True)
        told = str(configured(choice.config, {}, "data.class_path"))
        if not told.endswith(_KNOWING):
            return _left_out(f"{told} does not know sides of the split")
        if self._learnt_from_views(choice) and not self._made_views(choice):
            return _left_out("it learnt from views that this run has not made, and val has none")
        fitting = ResumableFit(
            self.name,
            self.doing,
            choice.config,
            self._values(choice, before),
            asked.cache,
            asked.out,
            asked.budget.seconds,
            to_the_end=True,
        )
        photos = [len(Manifest.read(asked.cache).side(side)) for side in self.sides]
        estimate = self._as_before(choice) * sum(photos) / photos[0]
        schedule.revise(estimate)
        if allowed is None or estimate <= allowed:
            self._make_views(choice)
        left = None if allowed is None else allowed - schedule.elapsed
        end = fitting.run(self.digest(before), estimate, left, schedule)
        if end.state != "done":
            return StageOutcome(state="left out", note=end.note)
        lend_doubt(choice.checkpoint, end.checkpoint, asked.cache, again)
        # it knows these photos now
        score, known = _on_val(again, asked.cache), choice.model.val_macro_f1
        if score < known:
            again.unlink()
            return _left_out(f"macro-F1 on val fell from {known:.3f} to {score:.3f}")
        note = f"{sum(photos)} photos instead of {photos[0]}"
        return StageOutcome([again], file_digest(again), note=note)

    def _as_before(self, choice: Choice) -> float:
        """Seconds, by those of the first training; the clock looks at the epochs themselves."""
        record = StageRecord.read(self.settings.out, choice.model.stage)
        return record.seconds if record else 0.0

    def _make_views(self, choice: Choice) -> None:
        """Of the photos that had none, where the chosen model learnt from views.

        Plain among photos with views they would be learnt by heart: gated attention had 0.93 on
        test instead of 0.96.
        """
        asked = self.settings
        if self._learnt_from_views(choice):
            extract_photos(asked, replace(asked.views, sides=tuple(self.sides)))

    def _learnt_from_views(self, choice: Choice) -> bool:
        return bool(configured(choice.config, {}, VIEWS))

    def _made_views(self, choice: Choice) -> bool:
        """Whether the views that it learnt from are those of this run."""
        asked, policy = self.settings.views, configured(choice.config, {}, VIEWS_POLICY)
        return asked.count > 0 and ViewsHeader.of_spec(asked).digest == policy

    def _values(self, choice: Choice, before: Records) -> dict[str, Any]:
        """Where the training differs from the first one."""
        from lazarus_pl.tasks.read_checkpoint import read_checkpoint

        callbacks = callbacks_of(choice.config, {})
        values: dict[str, Any] = {
            _TRAIN_ON: list(self.sides),
            EPOCHS: int(read_checkpoint(choice.checkpoint)["epoch"]) + 1,
            # val can no longer say when it is enough
            CALLBACKS: [each for each in callbacks if "EarlyStopping" not in each["class_path"]],
            # the first one may have been continued, and under another limit
            "ckpt_path": "null",
            "budget.gpu_memory": self.settings.budget.gpu_memory or "null",
        }
        if choice.model.stage == FinetuneStage.name:
            values["model.init_args.start"] = str(start_of(self.settings.out, before))
        return values


def _left_out(reason: str) -> StageOutcome:
    return StageOutcome(state="left out", note=f"left out: {reason}")


def _on_val(checkpoint: Path, cache: Path) -> float:
    return SideScores.of(predict_side(checkpoint, cache, "val")).macro_f1
