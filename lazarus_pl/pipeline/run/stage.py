"""One step of the chain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from lazarus_pl import __version__
from lazarus_pl.pipeline.run.digests import digest_of
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stage_record import StageRecord

Records = Mapping[str, StageRecord]


class Stage(ABC):
    """Something that is done once as long as nothing changes that it depends on.

    Nothing heavy is imported before :meth:`run`, so that a chain with nothing to do ends at once.

    Args:
        settings: Of the run.

    Attributes:
        name: Its name, and that of its record.
        title: What it does, in a few words.
        needs: Stages whose output it depends on, where they gave one.
        requires: Those of them without which it cannot be done.
        vital: Whether nothing can be had without it; where others fail, the chain goes on.
        can_be_cut: Whether it may be shortened or left out to keep within a budget of time.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    requires: tuple[str, ...] = ()
    vital: ClassVar[bool] = False
    can_be_cut: ClassVar[bool] = False

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    def needed(self, before: Records) -> tuple[str, ...]:
        """Stages that it depends on after what there was before it."""
        return self.needs

    def digest(self, before: Records) -> str:
        """Digest of all that determines what it gives."""
        needed = self.needed(before)
        outputs = {name: before[name].output for name in needed if name in before}
        return digest_of(self.name, __version__, outputs, self.inputs())

    @abstractmethod
    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """What it depends on beside the output of other stages."""

    @abstractmethod
    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """Seconds that it will take; None where that is not known yet.

        Args:
            costs: Seconds by stage, as the audit estimated them.
        """

    @abstractmethod
    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Does it, or goes on with it.

        Args:
            before: Records of the stages before it.
            allowed: Seconds that it may take; None for as long as it needs.
            schedule: To be told where it turns out to take longer or shorter.

        Raises:
            LazarusError: If it cannot be done.
        """


def is_done(records: Records, stage: str) -> bool:
    """Whether a stage gave something, be it less than was asked for."""
    return stage in records and records[stage].state in ("done", "shortened")
