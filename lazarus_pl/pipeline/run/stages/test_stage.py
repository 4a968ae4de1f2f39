"""The stage ``test``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lazarus_pl.data.atomic import copy_file, replace_file
from lazarus_pl.pipeline.run.candidate import Candidate
from lazarus_pl.pipeline.run.choice import Choice
from lazarus_pl.pipeline.run.digests import file_digest
from lazarus_pl.pipeline.run.gallery import Shown, make_gallery
from lazarus_pl.pipeline.run.leaf_bootstrap import LeafBootstrap
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.side_predictions import SidePredictions, predict_side
from lazarus_pl.pipeline.run.side_scores import SideScores
from lazarus_pl.pipeline.run.stage import Records, Stage, is_done
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stages.refit_stage import RefitStage


class TestStage(Stage):
    """Reads test, once, for the chosen model."""

    # pytest takes classes of this name for tests
    __test__ = False

    name = "test"
    title = "read test, once, for the chosen model"
    needs = ("extract", "choose", "refit")
    requires = ("choose",)

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """How many photos are shown, the seed of the bootstrap, and what there was to choose."""
        choice = Choice(self.settings.out)
        return [self.settings.gallery, self.settings.seed, file_digest(choice.result)]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """A pass over test, and the maps of a few photos.

        A fine-tuned encoder reads the photos of test again.
        """
        if self.settings.finetune.skip:
            return 1.0 + 0.5 * self.settings.gallery
        photos = costs.get("extraction")
        return None if photos is None else 2.0 + 0.05 * photos + self.settings.gallery

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Scores the chosen model, trained again where it was, on test."""
        from lazarus_pl.data.manifest import Manifest
        from lazarus_pl.tasks.read_checkpoint import read_checkpoint

        asked, choice = self.settings, Choice(self.settings.out)
        again = RefitStage(asked).checkpoint if is_done(before, "refit") else None
        copy_file(again or choice.checkpoint, asked.best)
        result: dict[str, Any] = {
            **choice.read(),
            "trained_on": read_checkpoint(asked.best)["lazarus"].get("trained_on", []),
            "test": None,
            "interval": None,
            "readings": 0,
            "no_promise": _no_promise(asked.best),
        }
        self._folder.mkdir(exist_ok=True)
        files = [asked.best, self._folder / "result.json"]
        if Manifest.read(asked.cache).side("test"):
            files += self._read_test(result, self._map_maker(choice.model, choice.candidates))
        else:
            _write(result, self._folder / "result.json")
        return StageOutcome(files, file_digest(self._folder / "result.json"), note=_note(result))

    @property
    def _folder(self) -> Path:
        return self.settings.out / self.name

    def _read_test(self, result: dict[str, Any], map_maker: Path | None) -> list[Path]:
        """Scores test and completes the result, then shows hits and misses.

        Args:
            result: What is known so far.
            map_maker: Another checkpoint than the chosen one that is to draw the maps.
        """
        asked, folder = self.settings, self._folder
        said = predict_side(asked.best, asked.cache, "test")
        interval = LeafBootstrap.of(said, asked.seed or 0)
        result["test"] = asdict(SideScores.of(said))
        result["interval"] = asdict(interval) if interval else None
        result["readings"] = _readings(folder / "result.json") + 1
        said.write(folder / "predictions.csv")
        # before the pictures: who stops them has read test all the same
        _write(result, folder / "result.json")
        shown = _hits_and_misses(said, asked.gallery)
        told = dict(zip(said.files, said.probability, strict=True)) if map_maker else None
        drawn = make_gallery(shown, asked, map_maker or asked.best, folder / "gallery", told)
        return [folder / "predictions.csv", *drawn]

    def _map_maker(self, chosen: Candidate, candidates: Sequence[Candidate]) -> Path | None:
        """The patch head, where it knows the classes of a chosen model without patches."""
        from lazarus_pl.heads.patch_head import PatchHead
        from lazarus_pl.tasks.load_task import load_task

        rival = next((item for item in candidates if item.stage == "patches"), None)
        if rival is None or rival == chosen:
            return None
        theirs = load_task(self.settings.out / chosen.checkpoint)
        # such a model draws its own maps
        if isinstance(theirs.head, PatchHead):
            return None
        ours = load_task(self.settings.out / rival.checkpoint)
        knows = isinstance(ours.head, PatchHead) and ours.class_names == theirs.class_names
        return self.settings.out / rival.checkpoint if knows else None


def _no_promise(checkpoint: Path) -> str:
    from lazarus_pl.doubt.doubt import Doubt

    doubt = Doubt.of_checkpoint(checkpoint)
    return doubt.no_promise if doubt else ""


def _write(result: Mapping[str, Any], path: Path) -> None:
    with replace_file(path) as file:
        file.write(json.dumps(result).encode("utf-8", "surrogateescape"))


def _readings(path: Path) -> int:
    """How often test was read before in this folder."""
    try:
        return int(json.loads(path.read_bytes())["readings"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _hits_and_misses(said: SidePredictions, number: int) -> list[Shown]:
    """The surest hit of each class in turn, and the misses that were surest of themselves."""
    order = np.argsort(-said.confidence, kind="stable")
    right = said.predicted == said.target
    taken: dict[int, int] = {}
    hits: list[tuple[int, int]] = []
    for place in order[right[order]]:
        label = int(said.target[place])
        hits.append((taken.get(label, 0), int(place)))
        taken[label] = taken.get(label, 0) + 1
    first = [place for _, place in sorted(hits, key=lambda item: item[0])[:number]]
    misses = order[~right[order]][:number].tolist()
    return [
        *(_shown(said, place, "hit") for place in first),
        *(_shown(said, place, "miss") for place in misses),
    ]


def _shown(said: SidePredictions, place: int, kind: str) -> Shown:
    return Shown(
        kind=kind,
        file=said.files[place],
        label=said.class_names[said.target[place]],
        predicted=said.class_names[said.predicted[place]],
        probability=round(float(said.confidence[place]), 4),
    )


def _note(result: Mapping[str, Any]) -> str:
    if result["test"] is None:
        return "the split has no test photos"
    text = f"{result['chosen']['name']}, test macro-F1 {result['test']['macro_f1']:.3f}"
    if result["interval"] is None and result["test"]["accuracy"] < 1:
        return f"{text}, of leaves that are too few, or too alike, for an interval"
    if result["interval"] is None:
        return f"{text}, without a mistake"
    low, high = result["interval"]["macro_f1"]
    return f"{text} ({low:.3f} to {high:.3f})"
