"""The stage ``finetune``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.errors import LazarusError
from lazarus_pl.pipeline.run.chain import read_costs
from lazarus_pl.pipeline.run.resumable_fit import epochs_of
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stages.fit_stage import SETTING_UP, FitStage
from lazarus_pl.views.view_policy import ViewPolicy

_PLAIN_WEIGHT = 0.3
# of the cost of an epoch from photos: blocks before the cached grid are not run
_SHARE = 0.4


class FinetuneStage(FitStage):
    """The encoder's last blocks with the best head, thawed step by step, with rollback."""

    name = "finetune"
    title = "the best head with the encoder's last blocks"
    needs = ("extract", "views", "grid")
    requires = ("grid",)
    doing = "fine-tuning"
    shipped = "finetune/progressive.yaml"

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """By what the audit tried of an epoch from photos."""
        epoch = costs.get("fine-tuning, one epoch, backbone partly unfrozen")
        if epoch is None:
            return None
        return _SHARE * epoch * epochs_of(self.config, self.values()) + SETTING_UP

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Fine-tunes the best of the grid."""
        start = self.settings.out / "grid" / "best.ckpt"
        if not start.is_file():
            raise LazarusError("there is no head to start with: the grid gave none")
        costs = read_costs(self.settings.out)
        views = before.get("views")
        more: dict[str, Any] = {"model.init_args.start": str(start)}
        if views is not None and views.state == "done":
            more |= self._views()
        return self.outcome(self.fit(before, allowed, schedule, costs, more))

    def _views(self) -> dict[str, Any]:
        """The views of this run: the cache may hold those of earlier policies."""
        asked = self.settings.views
        policy = ViewsHeader.of(ViewPolicy.find(asked.policy), asked.seed)
        return {
            "data.init_args.views": asked.count,
            "data.init_args.views_policy": policy.digest,
            "data.init_args.plain_weight": _PLAIN_WEIGHT,
        }
