"""The stage ``choose``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lazarus_pl.data.atomic import copy_file, replace_file
from lazarus_pl.doubt.calibrate import calibrate_checkpoint
from lazarus_pl.errors import LazarusError
from lazarus_pl.fit_words import configured
from lazarus_pl.grid.run_result import RunResult
from lazarus_pl.pipeline.run.candidate import Candidate, winner_of
from lazarus_pl.pipeline.run.choice import Choice
from lazarus_pl.pipeline.run.choose import choose, why_not_the_best
from lazarus_pl.pipeline.run.digests import digest_of, file_digest
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


class ChooseStage(Stage):
    """Chooses a model on val, and teaches it to doubt there."""

    name = "choose"
    title = "choose among all models on val"
    needs = ("extract", "grid", "patches", "views_head", "finetune")

    def inputs(self) -> Any:  # noqa: ANN401  # anything that can be written as text
        """The seed of the bootstrap, and what may compete."""
        return [self.settings.seed, _MODELS]

    def estimate(self, costs: Mapping[str, float]) -> float | None:
        """A few passes over val; a fine-tuned encoder reads val and train again."""
        if self.settings.finetune.skip:
            return 3.0
        photos = costs.get("extraction")
        return None if photos is None else 5.0 + 0.45 * photos

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        """Scores all candidates on val."""
        asked = self.settings
        candidates = list(self._candidates(before))
        if not candidates:
            earlier = f"; '{asked.best}' is of an earlier call" if asked.best.exists() else ""
            raise LazarusError(f"there is no model to choose: every training failed{earlier}")
        # val lies beside train, and is content long before photos of another day are: there those
        # that learnt from views are ahead of their equals on val
        best = choose(candidates)
        why = why_not_the_best(best, candidates)
        choice = Choice(asked.out)
        choice.folder.mkdir(exist_ok=True)
        _copy_slim(asked.out / best.checkpoint, choice.checkpoint)
        calibrate_checkpoint(choice.checkpoint, asked.cache)
        copy_file(best.folder(asked.out) / "config.yaml", choice.config)
        choice.write(
            {
                "candidates": [asdict(item) for item in candidates],
                "chosen": asdict(best),
                "preferred": bool(why),
                "val": asdict(SideScores.of(predict_side(choice.checkpoint, asked.cache, "val"))),
            }
        )
        # of another choice
        asked.deploy.unlink(missing_ok=True)
        what = digest_of(file_digest(choice.checkpoint), file_digest(choice.config))
        note = f"{best.name}, val macro-F1 {best.val_macro_f1:.3f}{f': {why}' if why else ''}"
        return StageOutcome([choice.checkpoint, choice.config, choice.result], what, note=note)

    def _candidates(self, before: Records) -> Iterator[Candidate]:
        for stage, path, title in _MODELS:
            said = self._on_val(before, stage, path)
            if said is None:
                continue
            scores, interval = SideScores.of(said), LeafBootstrap.of(said, self.settings.seed or 0)
            candidate = Candidate(
                title or _grid_winner(self.settings.out),
                stage,
                path,
                scores.macro_f1,
                scores.accuracy,
                interval.error if interval else None,
            )
            config = candidate.folder(self.settings.out) / "config.yaml"
            yield replace(candidate, on_views=bool(configured(config, {}, VIEWS)))

    def _on_val(self, before: Records, stage: str, path: str) -> SidePredictions | None:
        """What a model says of val, if there is such a model."""
        record, file = before.get(stage), self.settings.out / path
        if record is None or record.state in ("failed", "left out"):
            return None
        if file.name == "last.ckpt" and not _may_compete(file):
            return None
        try:
            _check_is_judged_by_val(file)
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


def _check_is_judged_by_val(checkpoint: Path) -> None:
    from lazarus_pl.tasks.read_checkpoint import read_checkpoint

    sides = read_checkpoint(checkpoint)["lazarus"].get("trained_on", ())
    if learnt := sorted({"val", "test"}.intersection(sides)):
        raise LazarusError(f"it was trained on {' and '.join(learnt)}")


def _copy_slim(trained: Path, chosen: Path) -> None:
    """What is chosen is used: who wants to go on with its training has the one of its stage."""
    import torch

    from lazarus_pl.tasks.read_checkpoint import read_checkpoint
    from lazarus_pl.tasks.slim_checkpoint import slim_checkpoint

    with replace_file(chosen) as file:
        torch.save(slim_checkpoint(read_checkpoint(trained)), file)


def _grid_winner(out: Path) -> str:
    folder = winner_of(out / "grid")
    result = RunResult.read(folder)
    return f"{result.head} head, learning rate {result.lr:g}" if result else f"head {folder.name}"
