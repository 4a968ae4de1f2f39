"""The stage ``extract``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lazarus_pl.data.manifest import Manifest
from lazarus_pl.pipeline.run.digests import digest_of
from lazarus_pl.pipeline.run.extract_photos import extract_photos
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.views.views_spec import ViewsSpec


class ExtractStage(Stage):
    """Photos to features."""

    name = "extract"
    title = "photos to features, in micro-jobs of 64"
    vital = True

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """The photos, the encoder and the split."""
        asked = self.settings
        # what it decides, not its text: an audit may add rows to be filled in
        corrections = asdict(asked.decisions) if asked.decisions else ""
        return [
            asked.listing,
            asked.label_from,
            asked.encoder,
            asked.weights_digest,
            asked.split,
            corrections,
            asked.precision,
        ]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """As the audit tried it."""
        return costs.get("extraction")

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Extracts what is not in the cache yet."""
        asked = self.settings
        extract_photos(asked, ViewsSpec())
        return StageOutcome(sorted(_files(asked.cache)), self._features())

    def _features(self) -> str:
        """What later stages are given: features, labels, groups and sides."""
        from lazarus_pl.cache.cache_header import CacheHeader

        cache = self.settings.cache
        column = Manifest.read(cache).column
        names = ("path", "sha256", "label", "group", "split")
        photos = list(zip(*map(column, names), strict=True))
        return digest_of(CacheHeader.read(cache).key, photos)


def _files(cache: Path) -> list[Path]:
    named = [cache / name for name in ("cache.json", "manifest.csv", "quarantine.csv", "jobs.csv")]
    return [*named, *cache.glob("jobs/*.npz")]
