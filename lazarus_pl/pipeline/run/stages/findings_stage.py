"""The stage ``findings``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome


class FindingsStage(Stage):
    """The audit again, with features: leaks, reach, unseen sessions, label doubts."""

    name = "findings"
    title = "what leaks are worth, how far scores carry, unseen sessions, label doubts"
    needs = ("audit", "extract")

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """Nothing beside the features."""
        return None

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """Little: no photo is opened again."""
        return 6.0

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Audits with the cache."""
        from lazarus_pl.audit.run_audit import run_audit

        asked = self.settings
        folder = asked.out / "audit"
        tried = before["audit"].state != "failed"
        costs = json.loads((folder / "costs.json").read_bytes()) if tried else None
        run_audit(
            asked.data,
            folder,
            cache=asked.cache,
            label_from=asked.label_from,
            costs=costs,
            corrections=asked.decisions,
        )
        return StageOutcome((folder / "audit.json", folder / "audit.html"))
