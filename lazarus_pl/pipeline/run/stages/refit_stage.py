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
from lazarus_pl.grid.run_result import RunResult
from lazarus_pl.pipeline.run.choice import Choice
from lazarus_pl.pipeline.run.digests import file_digest
from lazarus_pl.pipeline.run.extract_photos import extract_photos
from lazarus_pl.pipeline.run.made_views import made_views
from lazarus_pl.pipeline.run.refit_options import BEFORE_TEST
from lazarus_pl.pipeline.run.resumable_fit import EPOCHS, FitEnd, ResumableFit, epochs_done
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

    Val has done its work when a model is chosen, and its photos are as good as any to learn from
    (Goodfellow et al. 2016, Deep Learning, 7.8). There are as many epochs as the first training
    had, and the last of them counts, for nothing is left to choose by.

    Attributes:
        sides: Of the split, whose photos are trained on.
        doing: Shown beside the progress.
    """

    name = "refit"
    title = "train the chosen model again, on val too"
    needs: ClassVar[tuple[str, ...]] = ("extract", "views", "choose")
    requires: tuple[str, ...] = ("choose",)
    can_be_cut = True
    sides: ClassVar[Sequence[Side]] = BEFORE_TEST
    doing: ClassVar[str] = "training on val too"

    @property
    def checkpoint(self) -> Path:
        """What it gives."""
        return self.settings.out / "refit" / "refit.ckpt"

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
        choice = Choice(self.settings.out)
        self.checkpoint.unlink(missing_ok=True)
        if reason := self._hindrance(choice):
            return _left_out(reason)
        photos = [len(Manifest.read(self.settings.cache).side(side)) for side in self.sides]
        more = sum(photos) / photos[0]
        end = self._fit(choice, before, more, allowed, schedule)
        if end.state != "done":
            return StageOutcome(state="left out", note=end.note)
        lent = end.checkpoint.with_name("lent.ckpt")
        lend_doubt(choice.checkpoint, end.checkpoint, self.settings.cache, lent)
        # it knows these photos now
        score, known = _on_val(lent, self.settings.cache), choice.model.val_macro_f1
        if score < known - (choice.model.val_error or 0.0):
            return _left_out(f"macro-F1 on val fell from {known:.3f} to {score:.3f}")
        lent.replace(self.checkpoint)
        note = f"{sum(photos)} photos instead of {photos[0]}"
        return StageOutcome([self.checkpoint], file_digest(self.checkpoint), note=note)

    def _hindrance(self, choice: Choice) -> str:
        """Why the chosen training cannot be done on other sides, if it cannot."""
        data = str(configured(choice.config, {}, "data.class_path"))
        if not data.endswith(_KNOWING):
            return f"{data} does not know sides of the split"
        if _learnt_from_views(choice) and not self._views_are_ours(choice):
            return "it learnt from views that this run has not made, and val has none"
        return ""

    def _fit(
        self,
        choice: Choice,
        before: Records,
        more: float,
        allowed: float | None,
        schedule: Schedule,
    ) -> FitEnd:
        """Makes the views that are missing, and trains to the end.

        Args:
            choice: What was chosen.
            before: Records of the stages before.
            more: Photos, as a multiple of those of the first training.
            allowed: Seconds that both may take.
            schedule: Told how long both will take.
        """
        asked, digest = self.settings, self.digest(before)
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
        views = self._seconds("views") * (more - 1) if _learnt_from_views(choice) else 0.0
        training = more * self._first_training(choice)[1]
        schedule.revise(views + training)
        if allowed is not None and views + training > allowed and not fitting.is_begun(digest):
            return fitting.left_out(views + training, allowed)
        if _learnt_from_views(choice):
            # plain among photos with views they would be learnt by heart: gated attention had 0.93
            # on test instead of 0.96
            extract_photos(asked, replace(made_views(asked, before), sides=tuple(self.sides)))
        left = None if allowed is None else max(0.0, allowed - schedule.elapsed)
        return fitting.run(digest, training, left, schedule)

    def _first_training(self, choice: Choice) -> tuple[int, float]:
        """Its epochs and its seconds; the clock looks at those of the second one itself."""
        model, folder = choice.model, choice.model.folder(self.settings.out)
        if result := RunResult.read(folder):
            return result.epochs, result.seconds
        planned = int(configured(choice.config, {}, EPOCHS))
        return epochs_done(folder, planned), self._seconds(model.stage)

    def _seconds(self, stage: str) -> float:
        record = StageRecord.read(self.settings.out, stage)
        return record.seconds if record else 0.0

    def _views_are_ours(self, choice: Choice) -> bool:
        """Whether the views that it learnt from are those of this run."""
        asked, policy = self.settings.views, configured(choice.config, {}, VIEWS_POLICY)
        theirs = ViewsHeader.find(self.settings.cache, policy)
        return asked.count > 0 and ViewsHeader.of_spec(asked).digest == theirs.digest

    def _values(self, choice: Choice, before: Records) -> dict[str, Any]:
        """Where the training differs from the first one."""
        callbacks = callbacks_of(choice.config, {})
        sides = configured(choice.config, {}, _TRAIN_ON) or ()
        values: dict[str, Any] = {
            _TRAIN_ON: list(dict.fromkeys([*self.sides, *sides])),
            EPOCHS: self._first_training(choice)[0],
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


def _learnt_from_views(choice: Choice) -> bool:
    return bool(configured(choice.config, {}, VIEWS))


def _on_val(checkpoint: Path, cache: Path) -> float:
    return SideScores.of(predict_side(checkpoint, cache, "val")).macro_f1
