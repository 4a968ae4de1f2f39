"""The stage ``test``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lazarus_pl.data.atomic import copy_file, replace_file
from lazarus_pl.doubt.calibrate import calibrate_checkpoint
from lazarus_pl.errors import LazarusError
from lazarus_pl.fit_words import configured
from lazarus_pl.grid.run_result import RunResult
from lazarus_pl.pipeline.run.candidate import Candidate
from lazarus_pl.pipeline.run.choose import choose
from lazarus_pl.pipeline.run.digests import file_digest
from lazarus_pl.pipeline.run.gallery import Shown, make_gallery
from lazarus_pl.pipeline.run.leaf_bootstrap import LeafBootstrap
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.side_predictions import SidePredictions, predict_side
from lazarus_pl.pipeline.run.side_scores import SideScores
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stages.fit_stage import VIEWS

_LOG = logging.getLogger(__name__)

# stage, checkpoint and name, in the order in which they are trained
_MODELS = (
    ("grid", "grid/best.ckpt", ""),
    ("patches", "patches/checkpoints/best.ckpt", "patch attention"),
    ("views_head", "views_head/checkpoints/best.ckpt", "head trained on views"),
    ("finetune", "finetune/checkpoints/best.ckpt", "fine-tuned encoder and head"),
    ("finetune", "finetune/checkpoints/last.ckpt", "fine-tuned encoder and head, last epoch"),
)


class TestStage(Stage):
    """Chooses on val, then reads test once for the one that was chosen."""

    # pytest takes classes of this name for tests
    __test__ = False

    name = "test"
    title = "choose on val, then read test once"
    needs = ("extract", "grid", "patches", "views_head", "finetune")

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """How many photos are shown, the seed of the bootstrap, and what may compete."""
        return [self.settings.gallery, self.settings.seed, _MODELS]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """A few passes over val and test, and the maps of a few photos.

        A fine-tuned encoder reads the photos of both again.
        """
        if self.settings.finetune.skip:
            return 3.0 + 0.5 * self.settings.gallery
        photos = costs.get("extraction")
        return None if photos is None else 10.0 + 0.15 * photos + 2.0 * self.settings.gallery

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Scores all candidates on val, the best one on test."""
        from lazarus_pl.data.manifest import Manifest

        asked = self.settings
        candidates = list(self._candidates(before))
        if not candidates:
            raise LazarusError("there is no model to choose: every training failed")
        # val lies beside train, and is content long before photos of another day are: there those
        # that learnt from views are ahead of their equals on val
        best = choose(candidates)
        copy_file(asked.out / best.checkpoint, asked.best)
        calibrate_checkpoint(asked.best, asked.cache)
        result: dict[str, Any] = {
            "candidates": [asdict(item) for item in candidates],
            "chosen": asdict(best),
            "preferred": best is not max(candidates, key=lambda item: item.val_macro_f1),
            "val": asdict(SideScores.of(predict_side(asked.best, asked.cache, "val"))),
            "test": None,
            "interval": None,
            "readings": 0,
        }
        self._folder.mkdir(exist_ok=True)
        files = [asked.best, self._folder / "result.json"]
        if Manifest.read(asked.cache).side("test"):
            files += self._read_test(result, self._map_maker(best, candidates))
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
        if rival is None or rival is chosen:
            return None
        theirs = load_task(self.settings.out / chosen.checkpoint)
        # such a model draws its own maps
        if isinstance(theirs.head, PatchHead):
            return None
        ours = load_task(self.settings.out / rival.checkpoint)
        knows = isinstance(ours.head, PatchHead) and ours.class_names == theirs.class_names
        return self.settings.out / rival.checkpoint if knows else None

    def _candidates(self, before: Records) -> Iterator[Candidate]:
        for stage, path, title in _MODELS:
            said = self._on_val(before, stage, path)
            if said is None:
                continue
            scores, interval = SideScores.of(said), LeafBootstrap.of(said, self.settings.seed or 0)
            yield Candidate(
                title or _grid_winner(self.settings.out),
                stage,
                path,
                scores.macro_f1,
                scores.accuracy,
                interval.error if interval else None,
                bool(configured(self.settings.out / stage / "config.yaml", {}, VIEWS)),
            )

    def _on_val(self, before: Records, stage: str, path: str) -> SidePredictions | None:
        """What a model says of val, if there is such a model."""
        record, file = before.get(stage), self.settings.out / path
        if record is None or record.state in ("failed", "left out"):
            return None
        if file.name == "last.ckpt" and not _may_compete(file):
            return None
        try:
            return predict_side(file, self.settings.cache, "val")
        except LazarusError as error:
            _LOG.warning("'%s' does not compete: %s", path, error)
            return None


def _may_compete(last: Path) -> bool:
    """Whether a last epoch was not the best, and no class was lost in it for the others' sake."""
    from lazarus_pl.tasks.read_checkpoint import read_checkpoint

    # left by a version that kept none
    if not last.is_file():
        return False
    try:
        content, best = (read_checkpoint(path) for path in (last, last.with_name("best.ckpt")))
    except LazarusError:
        # told when it is to predict
        return True
    scores = content["lazarus"].get("scores", {})
    score = float(scores.get("val/macro_f1", 0.0))
    whole = float(scores.get("val/guarded_macro_f1", score)) >= score
    return whole and content["epoch"] != best["epoch"]


def _write(result: Mapping[str, Any], path: Path) -> None:
    with replace_file(path) as file:
        file.write(json.dumps(result).encode("utf-8", "surrogateescape"))


def _readings(path: Path) -> int:
    """How often test was read before in this folder."""
    try:
        return int(json.loads(path.read_bytes())["readings"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _grid_winner(out: Path) -> str:
    run = json.loads((out / "grid" / "summary.json").read_bytes())["run"]
    result = RunResult.read(out / "grid" / "runs" / run)
    return f"{result.head} head, learning rate {result.lr:g}" if result else f"head {run}"


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
    chosen = result["chosen"]
    text = f"chosen: {chosen['name']}, val macro-F1 {chosen['val_macro_f1']:.3f}"
    if result["test"] is None:
        return f"{text}; the split has no test photos"
    text += f"; test macro-F1 {result['test']['macro_f1']:.3f}"
    if result["interval"] is None:
        return f"{text}, of too few leaves for an interval"
    low, high = result["interval"]["macro_f1"]
    return f"{text} ({low:.3f} to {high:.3f})"
