"""``lazarus fit`` in a folder of its own, continued at the next call."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.duration import say_duration
from lazarus_pl.errors import LazarusError
from lazarus_pl.fit_words import QUIET, callbacks_of, configured, fit_words, logger_word
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage_record import State

_PLAN = "plan.json"
EPOCHS = "trainer.max_epochs"
_FEWEST = 2


@dataclass(frozen=True)
class FitEnd:
    """How a training ended.

    Attributes:
        state: ``done``, ``shortened``, or ``left out`` where there was no time for a useful part.
        note: Why it is not all of it.
        checkpoint: The one that counts.
    """

    state: State
    note: str
    checkpoint: Path


@dataclass(frozen=True)
class ResumableFit:
    """One training of a run.

    Attributes:
        name: The stage's name, and its folder's in the run's.
        title: Shown while it runs.
        config: The config file.
        values: Values by config key.
        cache: The feature cache.
        out: The run's folder.
        budget: Seconds that the whole run may take: a training that another budget shortened is
            not continued.
        least_share: Fewer of the epochs than this share are not worth their time.
        to_the_end: Whether its last epoch is what counts, and a part of it is worth nothing.
    """

    name: str
    title: str
    config: Path
    values: Mapping[str, Any]
    cache: Path
    out: Path
    budget: float | None = None
    least_share: float = 0.3
    to_the_end: bool = False

    @property
    def folder(self) -> Path:
        """Where its checkpoints and curves are."""
        return self.out / self.name

    @property
    def checkpoint(self) -> Path:
        """The one that counts: what the config keeps as the best, or the last epoch's."""
        return self.last if self.to_the_end else self.folder / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """The checkpoint of the last epoch, which it goes on from."""
        return self.folder / "checkpoints" / "last.ckpt"

    def is_begun(self, digest: str) -> bool:
        """Whether a training with the digest was begun, which :meth:`run` goes on with."""
        return self._planned(digest, epochs_of(self.config, self.values)) is not None

    def run(
        self, digest: str, estimate: float | None, allowed: float | None, schedule: Schedule
    ) -> FitEnd:
        """Trains, or goes on where a killed training with the same digest was.

        Args:
            digest: Of all that determines the training.
            estimate: Seconds that all epochs are thought to take.
            allowed: Seconds that it may take.
            schedule: Told how long it will take.

        Raises:
            LazarusError: If the config cannot be used, or the training leaves no checkpoint.
        """
        from callbacks.version_files import is_whole

        whole = epochs_of(self.config, self.values)
        least = 1.0 if self.to_the_end else self.least_share
        epochs = self._planned(digest, whole) or affordable_epochs(whole, estimate, allowed, least)
        if not epochs:
            return self.left_out(estimate, allowed)
        goes_on = self._planned(digest, whole) is not None and self._has_last()
        if not goes_on:
            self._begin(digest, epochs)
        early, said = self._fit(epochs, goes_on, allowed, schedule)
        if goes_on and not is_whole(self.checkpoint):
            # a training that is at its end does not write what was lost or damaged since
            self._begin(digest, epochs)
            early, said = self._fit(epochs, False, allowed, schedule)
        if not is_whole(self.checkpoint):
            raise LazarusError(
                f"the training with '{self.config}' left no whole checkpoint "
                f"'{self.checkpoint.name}': give the config a ModelCheckpoint with filename best, "
                "or CheckpointVersions"
            )
        done = epochs_done(self.folder, epochs)
        if early:
            note = f"ended after {done} of {whole} epochs, to keep within the budget of time"
        elif epochs < whole:
            note = f"planned for {epochs} instead of {whole} epochs, to keep within the budget"
        else:
            return FitEnd("done", said, self.checkpoint)
        return FitEnd("shortened", note, self.checkpoint)

    def left_out(self, estimate: float | None, allowed: float | None) -> FitEnd:
        """How it ends where there is no time: what is left of an earlier one goes.

        Args:
            estimate: Seconds that it is thought to take.
            allowed: Seconds that there are.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        needs = "" if estimate is None else f"it takes about {say_duration(estimate)}, and "
        left = f"{say_duration(allowed or 0)} of the budget of time are left for it"
        return FitEnd("left out", f"left out: {needs}{left}", self.checkpoint)

    def _begin(self, digest: str, epochs: int) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        # what another program holds open may have stayed
        self.folder.mkdir(parents=True, exist_ok=True)
        plan = {"digest": digest, "epochs": epochs, "budget": self.budget}
        with replace_file(self.folder / _PLAN) as file:
            file.write(json.dumps(plan).encode())

    def _fit(
        self, epochs: int, goes_on: bool, allowed: float | None, schedule: Schedule
    ) -> tuple[bool, str]:
        """Trains, and says whether there was no time for all epochs, and how batches were split."""
        from lazarus_pl.lightning_cli import run_lightning
        from lazarus_pl.pipeline.run.epoch_clock import EpochClock
        from lazarus_pl.pipeline.run.keep_last import KeepLast

        clock = EpochClock(self.title, schedule, allowed, self.to_the_end)
        own = [] if self._keeps_last() else [KeepLast(self.last)]
        words = self._arguments(epochs)
        words += [f"--ckpt_path={self.last}"] if goes_on else []
        cli = run_lightning(words, [clock, *own])
        return clock.ended_early, cli.split

    def _keeps_last(self) -> bool:
        """Whether the config itself writes its last epoch."""
        return any(map(_writes_last, callbacks_of(self.config, self.values)))

    def _has_last(self) -> bool:
        from callbacks.version_files import is_whole

        return self.last.is_file() and is_whole(self.last)

    def _arguments(self, epochs: int) -> list[str]:
        return [
            *fit_words(self.config, {**self.values, EPOCHS: epochs}),
            f"--data.init_args.cache={self.cache}",
            logger_word(self.out, "", self.name),
            *QUIET,
        ]

    def _planned(self, digest: str, whole: int) -> int | None:
        """Epochs of a training that was begun and may go on."""
        try:
            plan = json.loads((self.folder / _PLAN).read_bytes())
            same = plan["digest"] == digest
            fits = plan["epochs"] == whole or plan["budget"] == self.budget
            return int(plan["epochs"]) if same and fits else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _writes_last(callback: Mapping[str, Any]) -> bool:
    """Whether a callback of a config does; ``save_last`` of one with a monitor copies the best."""
    if "CheckpointVersions" in str(callback.get("class_path")):
        return True
    given = callback.get("init_args") or {}
    return bool(given.get("save_last")) and given.get("monitor") is None


def epochs_of(config: Path, values: Mapping[str, Any]) -> int:
    """Epochs that a config and what overrides it ask for."""
    try:
        return int(configured(config, values, EPOCHS))
    except (ValueError, TypeError) as error:
        raise LazarusError(
            f"'{config}' does not say for how many epochs to train: give it trainer.max_epochs"
        ) from error


def affordable_epochs(
    epochs: int, estimate: float | None, allowed: float | None, least_share: float
) -> int:
    """How many epochs there is time for; 0 where a useful part of them does not fit.

    Args:
        epochs: That are wished for.
        estimate: Seconds that they take.
        allowed: Seconds that there are.
        least_share: Fewer of the epochs than this share are not useful.
    """
    if allowed is None or (estimate is not None and estimate <= allowed):
        return epochs
    if estimate is None:
        return epochs if allowed > 0 else 0
    fitting = int(epochs * allowed / estimate)
    least = min(epochs, max(_FEWEST, round(least_share * epochs)))
    return fitting if fitting >= least else 0


def epochs_done(folder: Path, planned: int) -> int:
    """Epochs of the last checkpoint of a training; as many as were planned where there is none."""
    import torch

    last = folder / "checkpoints" / "last.ckpt"
    if not last.is_file():
        return planned
    return int(torch.load(last, map_location="cpu", weights_only=True)["epoch"]) + 1
