"""Trains the runs of a grid."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint

from callbacks.gpu_memory import cap_gpu_memory
from callbacks.step_in_parts import empty_cache
from lazarus_pl.data.atomic import NOTHING_CAN_BE_WRITTEN
from lazarus_pl.errors import LazarusError
from lazarus_pl.fit_words import QUIET, logger_word
from lazarus_pl.grid.built_run import BuiltRun
from lazarus_pl.grid.grid_spec import GridRun
from lazarus_pl.grid.run_results import RUNS, RunResults
from lazarus_pl.grid.stack_key import stack_key
from lazarus_pl.lightning_cli import LazarusCLI
from lazarus_pl.memory_amount import read_memory
from lazarus_pl.tasks.stacked_run import StackedRun
from lazarus_pl.tasks.stacked_task import StackedTask

_LOG = logging.getLogger(__name__)

# is told what is done, and which part of it is over
_Tell = Callable[[str, float], None]


class RunTrainer:
    """Trains runs as ``lazarus fit`` would, several in one trainer where they can be.

    A run that fails is noted and does not stop the others.

    Args:
        cache: The feature cache.
        out: The grid's folder.
        gpu_memory: What training may take of the GPU, such as ``4GB``; None for what there is.

    Attributes:
        results: What came of the runs.
        built: Runs that are built and not yet trained, by name.
    """

    def __init__(self, cache: Path, out: Path, gpu_memory: str | None = None) -> None:
        self._cache = cache
        self._out = out
        self._gpu_memory = gpu_memory
        self.results = RunResults(cache, out)
        self.built: dict[str, BuiltRun] = {}

    def stacks(self, runs: Iterable[GridRun]) -> list[list[GridRun]]:
        """Runs that can be trained together, in the order of the first of each."""
        stacks: dict[str, list[GridRun]] = {}
        for run in runs:
            stacks.setdefault(self._stack_key(run) or run.name, []).append(run)
        return list(stacks.values())

    def train(self, stack: Sequence[GridRun], tell: _Tell = lambda note, part: None) -> None:
        """Trains those of a stack that have no result.

        Args:
            stack: Runs that can be trained together.
            tell: Is told what is done, and which part of it is over.

        Raises:
            OSError: If the disk is full or read-only.
        """
        left = self._left(stack)
        if len(left) > 1:
            self._train_together(left, tell)
        for run in self._left(stack):
            tell(run.name, 0.0)
            self._train(run)

    def _left(self, stack: Sequence[GridRun]) -> list[GridRun]:
        return [run for run in stack if self.results.read(run) is None]

    def _stack_key(self, run: GridRun) -> str | None:
        try:
            self.built[run.name] = BuiltRun(self._arguments(run))
            return stack_key(self.built[run.name])
        # it will be said where the run is trained
        except Exception as error:
            _LOG.debug("", exc_info=error)
            return None

    def _train(self, run: GridRun) -> None:
        self.built.pop(run.name, None)
        self._empty(run)
        started = time.monotonic()
        try:
            self._fit(run, started)
        # whatever a run dies of, the others are worth having
        except Exception as error:
            if _is_full(error):
                raise
            _LOG.warning("the run %s failed: %s", run.name, _said(error))
            _LOG.debug("", exc_info=error)
            self.results.write_failed(run, _said(error), time.monotonic() - started)

    def _fit(self, run: GridRun, started: float) -> None:
        cli = LazarusCLI(self._arguments(run))
        checkpoint = cli.trainer.checkpoint_callback
        if not isinstance(checkpoint, ModelCheckpoint) or not checkpoint.best_model_path:
            raise LazarusError("its config keeps no best checkpoint: add a ModelCheckpoint")
        seconds, epochs = time.monotonic() - started, cli.trainer.current_epoch
        seed = int(cli.config["fit"]["seed_everything"])
        lr = float(cli.model.hparams.get("lr", math.nan))
        self.results.write(run, Path(checkpoint.best_model_path), lr, seed, epochs, seconds)

    def _train_together(self, stack: Sequence[GridRun], tell: _Tell) -> None:
        """Trains runs in one trainer; what is done has its result, whatever becomes of the rest."""
        try:
            self._fit_together(stack, tell)
        except Exception as error:
            if _is_full(error):
                raise
            _LOG.warning("%d runs could not be trained together: %s", len(stack), _said(error))
            _LOG.debug("", exc_info=error)
        # only now does no exception hold what was built
        empty_cache()

    def _fit_together(self, stack: Sequence[GridRun], tell: _Tell) -> None:
        started = time.monotonic()
        built = [self._take(run) for run in stack]
        stacked = [one.stacked() for one in built]
        for run, one in zip(stack, built, strict=True):
            self._empty(run)
            one.write_config()

        def write(done: StackedRun) -> None:
            run = stack[stacked.index(done)]
            # its share of the time
            seconds = (time.monotonic() - started) / len(stack)
            self.results.write(run, done.best, done.task.lr, built[0].seed, done.epochs, seconds)

        memory = built[0].config["fit"]["budget"]["gpu_memory"]
        if memory is not None:
            # where that does not suffice for all, each is trained alone, with batches in parts
            cap_gpu_memory(read_memory(memory))
        trainer: Any = built[0].trainer
        # what the config's do is done for each run by itself
        trainer.logger = None
        trainer.callbacks = [_telling(f"{len(stack)} runs together", tell)]
        # others may have been built since
        seed_everything(built[0].seed, workers=True, verbose=False)
        trainer.fit(StackedTask(stacked, write), datamodule=built[0].datamodule)

    def _take(self, run: GridRun) -> BuiltRun:
        return self.built.pop(run.name, None) or BuiltRun(self._arguments(run))

    def _empty(self, run: GridRun) -> None:
        folder = self.results.folder(run)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def _arguments(self, run: GridRun) -> list[str]:
        # not of the run's digest: batches in parts train the same
        limit = [] if self._gpu_memory is None else [f"--budget.gpu_memory={self._gpu_memory}"]
        return [
            *run.arguments(),
            *limit,
            f"--data.init_args.cache={self._cache}",
            logger_word(self._out, RUNS, run.name),
            *QUIET,
        ]


def _telling(name: str, tell: _Tell) -> LambdaCallback:
    """Tells of every epoch."""
    return LambdaCallback(
        on_train_epoch_start=lambda trainer, _: tell(
            f"{name}, epoch {trainer.current_epoch + 1} of {trainer.max_epochs}",
            trainer.current_epoch / max(trainer.max_epochs or 1, 1),
        )
    )


def _is_full(error: Exception) -> bool:
    """Whether nothing more can be written: then no other run can be trained either."""
    return isinstance(error, OSError) and error.errno in NOTHING_CAN_BE_WRITTEN


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
