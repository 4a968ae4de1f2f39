"""The stage ``audit``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lazarus_pl.cache.extraction import may_extract_into
from lazarus_pl.cache.job_folder import JobFolder
from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.build_manifest import leave_scan
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.photo import Photo
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome

_LOG = logging.getLogger(__name__)
# measured on two cores; only this stage is guessed
_SECONDS, _SECONDS_A_PHOTO = 22.0, 0.0015


class AuditStage(Stage):
    """Looks at every photo once, and tries what the later stages will cost."""

    name = "audit"
    title = "what is wrong with the photos, what each stage will cost"

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """The photos, and what their costs depend on."""
        asked = self.settings
        encoder = [asked.encoder, asked.weights_digest]
        corrections = [asdict(asked.decisions)] if asked.decisions else []
        return [asked.listing, asked.split, encoder, asked.engine_options, *corrections]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """By the number of photos."""
        _, listed = list_photos(self.settings.data, self.settings.label_from)
        return _SECONDS + _SECONDS_A_PHOTO * len(listed)

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Audits without features, which are not there yet."""
        from lazarus_pl.audit.run_audit import run_audit
        from lazarus_pl.audit.survey import known_photos

        asked = self.settings
        folder = asked.out / "audit"
        report = run_audit(
            asked.data,
            folder,
            split=asked.split,
            label_from=asked.label_from,
            encoder=asked.encoder,
            options=asked.engine_options,
            engines=asked.engines if _is_for_us(asked.cache) else None,
            corrections=asked.decisions,
        )
        costs = {key: report[key] for key in ("costs", "costs_4gb", "rates")}
        with replace_file(folder / "costs.json") as file:
            file.write(json.dumps(costs).encode())
        _leave(known_photos(folder), asked.cache)
        # the survey is rewritten by the stage findings, and made again where it is missing
        return StageOutcome((folder / "costs.json",))


def _is_for_us(cache: Path) -> bool:
    try:
        return may_extract_into(cache)
    except OSError:
        return False


def _leave(photos: Sequence[Photo], cache: Path) -> None:
    """Leaves photos for the extraction, which need not open them again, if it waits for them."""
    if not _is_for_us(cache):
        return
    try:
        with JobFolder.lock_of(cache).acquire(timeout=0):
            if not (cache / "manifest.csv").exists():
                leave_scan(photos, cache)
    # another process at work there is one too
    except OSError as error:
        _LOG.info("the extraction opens the photos again: %s", error)
