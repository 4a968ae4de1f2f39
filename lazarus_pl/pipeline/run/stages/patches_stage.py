"""The stage ``patches``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from lazarus_pl.data.manifest import Manifest
from lazarus_pl.pipeline.run.chain import read_costs
from lazarus_pl.pipeline.run.digests import digest_of
from lazarus_pl.pipeline.run.gallery import Shown, make_gallery
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stages.fit_stage import FitStage

# than that head; measured
_SLOWER = 1.5


class PatchesStage(FitStage):
    """A diagnosis with a map of where it was read, and maps of a few photos of val."""

    name = "patches"
    title = "a head that scores every patch, for maps"
    needs = ("extract",)
    doing = "training patches"
    shipped = "patches/patches.yaml"
    # the maps are learnt after the diagnosis
    least_share = 0.75

    def digest(self, before: Records) -> str:
        """Of the training, and of how many maps are drawn."""
        return digest_of(super().digest(before), self.settings.gallery)

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """By what the audit tried of a head over patches; a map takes about a second."""
        head = self.estimate_head(costs, _SLOWER)
        return None if head is None else head + self.settings.gallery

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Trains, and explains a few photos."""
        end = self.fit(before, allowed, schedule, read_costs(self.settings.out))
        if end.state == "left out":
            return self.outcome(end)
        asked = self.settings
        gallery = asked.out / self.name / "gallery"
        shown = _spread(Manifest.read(asked.cache), asked.gallery)
        files = make_gallery(shown, asked, end.checkpoint, gallery)
        return self.outcome(end, *files)


def _spread(manifest: Manifest, number: int) -> list[Shown]:
    """Photos of val, one a class in turn; test is not looked at."""
    by_class: dict[str, list[Shown]] = {}
    for photo in manifest.side("val"):
        by_class.setdefault(photo.label, []).append(Shown("sample", photo.path, photo.label))
    turns: Sequence[tuple[Shown | None, ...]] = list(zip_longest(*by_class.values()))
    return [item for turn in turns for item in turn if item is not None][:number]
