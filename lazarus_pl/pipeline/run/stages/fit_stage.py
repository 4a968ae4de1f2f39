"""What stages have in common that train one config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.fit_words import configured
from lazarus_pl.pipeline.run.check_overrides import check_overrides
from lazarus_pl.pipeline.run.digests import file_digest, text_of
from lazarus_pl.pipeline.run.made_views import made_views
from lazarus_pl.pipeline.run.resumable_fit import FitEnd, ResumableFit, epochs_of
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_options import StageOptions
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.shipped_config import shipped_config

# seconds before the first step
SETTING_UP = 3.0
# epochs of the attention head that the audit's cost is of
_TRIED_EPOCHS = 20
VIEWS, VIEWS_POLICY = "data.init_args.views", "data.init_args.views_policy"
_WEIGHT = "data.init_args.plain_weight"
_PLAIN_WEIGHT = 0.3


class FitStage(Stage):
    """Trains one config in the folder of its name.

    Attributes:
        doing: Shown beside the progress.
        shipped: The config that is taken if none is named.
        least_share: Fewer of its epochs than this share are not worth their time.
    """

    can_be_cut = True
    doing: ClassVar[str]
    shipped: ClassVar[str]
    least_share: ClassVar[float] = 0.3

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self.config = Path(self.options(settings).config or shipped_config(self.shipped))
        asked = self.options(settings).overrides
        check_overrides(f"--{self.name}.overrides", self.config, asked, settings.cache)

    def options(self, settings: RunSettings) -> StageOptions:
        """Those of this stage."""
        chosen: StageOptions = getattr(settings, self.name)
        return chosen

    def values(self) -> dict[str, Any]:
        """Values by config key that differ from the config's."""
        seed = self.settings.seed
        seeded = {} if seed is None else {"seed_everything": seed}
        return {**seeded, **self.options(self.settings).overrides}

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """The config and what differs from it."""
        return [text_of(self.config), self.values()]

    def views(self, before: Records) -> dict[str, Any]:
        """Config values that train on this run's views; none where it made none.

        The cache may hold views of earlier policies beside them. How many of them, unless time was
        too short for all, and how often a photo is seen as it is, a config of one's own may say.
        """
        made = made_views(self.settings, before)
        if not made.count:
            return {}
        count, weight = (configured(self.config, self.values(), key) for key in (VIEWS, _WEIGHT))
        fewer = made.count < self.settings.views.count
        return {
            VIEWS: made.count if fewer or count in (None, "all") else count,
            VIEWS_POLICY: ViewsHeader.of_spec(made).digest,
            _WEIGHT: _PLAIN_WEIGHT if weight is None else weight,
        }

    def estimate_head(self, costs: Mapping[str, float], slower: float) -> float | None:
        """Seconds by what the audit tried of a head over patches.

        Args:
            costs: Seconds by stage, as the audit estimated them.
            slower: Time of an epoch as a multiple of that head's.
        """
        tried = costs.get("patch attention")
        if tried is None:
            return None
        epochs = epochs_of(self.config, self.values())
        return slower * tried * epochs / _TRIED_EPOCHS + SETTING_UP

    def fit(
        self,
        before: Records,
        allowed: float | None,
        schedule: Schedule,
        costs: Mapping[str, float],
        more: Mapping[str, Any] | None = None,
    ) -> FitEnd:
        """Trains, or goes on with it."""
        # not of the digest: batches in parts train the same
        memory = self.settings.budget.gpu_memory
        limits = {} if memory is None else {"budget.gpu_memory": memory}
        fitting = ResumableFit(
            self.name,
            self.doing,
            self.config,
            {**limits, **(more or {}), **self.values()},
            self.settings.cache,
            self.settings.out,
            self.settings.budget.seconds,
            self.least_share,
        )
        # of the training alone: a subclass may do more, which is no reason to train again
        return fitting.run(FitStage.digest(self, before), self.estimate(costs), allowed, schedule)

    def outcome(self, end: FitEnd, *files: Path) -> StageOutcome:
        """What a training gave."""
        if end.state == "left out":
            return StageOutcome(state=end.state, note=end.note)
        return StageOutcome(
            (end.checkpoint, *files), file_digest(end.checkpoint), end.state, end.note
        )
