"""The stage ``views``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.duration import say_duration
from lazarus_pl.pipeline.run.chain import read_costs
from lazarus_pl.pipeline.run.digests import digest_of, file_digest
from lazarus_pl.pipeline.run.extract_photos import extract_photos
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stages.views_head_stage import ViewsHeadStage
from lazarus_pl.views.view_policy import ViewPolicy

# than a plain photo; measured with leaves laid on other backgrounds
_SLOWER = 1.3
# more of the time that is left would be missing in the fine-tuning, where it alone wants them
_SHARE = 0.4


class ViewsStage(Stage):
    """Augmented views of the photos that are trained on, for a head and for fine-tuning."""

    name = "views"
    title = "augmented views of the photos that are trained on"
    needs = ("extract",)
    can_be_cut = True

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        # a mistake is told before photos are encoded
        ViewPolicy.find(settings.views.policy)
        # fine-tuning alone wants them, which begins with the best head
        self.requires = () if settings.has_views_head else ("grid",)

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """Which views, and the text of their policy."""
        return [self.settings.views, file_digest(Path(self.settings.views.policy))]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """A view costs what a photo costs, and has to be made."""
        plain = costs.get("extraction")
        views = self.settings.views
        viewed = self.settings.split.share(views.sides)
        return None if plain is None else _SLOWER * plain * viewed * views.count

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Encodes the views that are not in the cache yet."""
        asked = self.settings
        costs = read_costs(asked.out)
        count = self._affordable(allowed, costs)
        if not count and allowed is not None:
            note = (
                f"left out: they take about {say_duration(self.estimate(costs) or 0.0)}, and "
                f"{say_duration(allowed)} of the budget of time are left for them and for training "
                "on them"
            )
            return StageOutcome(state="left out", note=note)
        spec = replace(asked.views, count=count)
        extract_photos(asked, spec)
        header = ViewsHeader.of_spec(spec)
        folder = header.folder(asked.cache)
        # the cache may hold more views of this policy, those of others, and of photos that are
        # trained on later
        made = _made_of(folder / "jobs.csv", Manifest.read(asked.cache).side("train"))
        files, output = sorted(folder.glob("jobs/*.npz")), digest_of(header.digest, count, made)
        if count == asked.views.count:
            return StageOutcome(files, output)
        note = f"{count} of {asked.views.count} views of a photo, to keep within the budget of time"
        return StageOutcome(files, output, "shortened", note)

    def _affordable(self, allowed: float | None, costs: Mapping[str, float]) -> int:
        """Views of a photo that there is time for."""
        count, needed = self.settings.views.count, self.estimate(costs) or 0.0
        if allowed is None or needed <= (bearable := self._bearable(allowed, costs)):
            return count
        return max(0, int(count * bearable / needed))

    def _bearable(self, allowed: float, costs: Mapping[str, float]) -> float:
        """Seconds that they may take, so that what they are for has its time."""
        if not self.settings.has_views_head:
            return _SHARE * allowed
        head = ViewsHeadStage(self.settings).estimate(costs) or 0.0
        return allowed - ViewsHeadStage.least_share * head


def _made_of(table: Path, photos: Iterable[Photo]) -> str:
    """SHA-256 of the views' table as it is with those of some photos alone."""
    wanted = {photo.sha256 for photo in photos}
    head, *rows = table.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for row in rows if row.split(",")[1] in wanted]
    return hashlib.sha256("".join([head, *kept]).encode()).hexdigest()
