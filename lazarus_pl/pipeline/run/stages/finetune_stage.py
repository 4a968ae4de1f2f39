"""The stage ``finetune``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lazarus_pl.errors import LazarusError
from lazarus_pl.pipeline.run.chain import read_costs
from lazarus_pl.pipeline.run.digests import digest_of, file_digest
from lazarus_pl.pipeline.run.resumable_fit import epochs_of
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, is_done
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stages.fit_stage import SETTING_UP, FitStage

# of the cost of an epoch from photos: blocks before the cached grid are not run; measured
_SHARE = 0.25
# for views and setting up, in the time of what is trained again
_ROOM = 1.25
# that may be chosen
_CHECKPOINTS = ("best.ckpt", "last.ckpt")


class FinetuneStage(FitStage):
    """The encoder's last blocks with a head, thawed step by step, with rollback."""

    name = "finetune"
    title = "a head with the encoder's last blocks"
    needs = ("extract", "views", "grid", "views_head")
    doing = "fine-tuning"
    shipped = "finetune/progressive.yaml"

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self.requires = () if settings.has_views_head else ("grid",)

    def needed(self, before: Records) -> tuple[str, ...]:
        """The grid only where it begins with the grid's best."""
        taught = is_done(before, "views_head")
        return tuple(name for name in self.needs if not (taught and name == "grid"))

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """The config and what differs from it, and which checkpoints it gives."""
        return [*super().inputs(), _CHECKPOINTS]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """By what the audit tried of an epoch from photos."""
        epoch = costs.get("fine-tuning, one epoch, backbone partly unfrozen")
        if epoch is None:
            return None
        return _SHARE * epoch * epochs_of(self.config, self.values()) + SETTING_UP

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Fine-tunes the head that learnt from views, or else the best of the grid."""
        start = start_of(self.settings.out, before)
        if not start.is_file():
            raise LazarusError("there is no head to start with: none of the heads was trained")
        costs = read_costs(self.settings.out)
        more = {"model.init_args.start": str(start), **self.views(before)}
        if allowed is not None:
            # so that the same can be done once more, on val too, whose views are to be made first
            allowed /= 1 + _ROOM * self.settings.refit_share
        end = self.fit(before, allowed, schedule, costs, more)
        if end.state == "left out":
            return self.outcome(end)
        kept = [path for name in _CHECKPOINTS if (path := end.checkpoint.with_name(name)).is_file()]
        output = digest_of([file_digest(path) for path in kept])
        return StageOutcome(kept, output, end.state, end.note)


def start_of(out: Path, before: Records) -> Path:
    """The checkpoint that it begins with: the head that learnt from views, or the grid's best."""
    made_by = "views_head/checkpoints" if is_done(before, "views_head") else "grid"
    return out / made_by / "best.ckpt"
