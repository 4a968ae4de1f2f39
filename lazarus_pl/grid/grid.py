"""Many runs on one cache."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint

from callbacks.step_in_parts import empty_cache
from lazarus_pl import __version__
from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.data.atomic import NOTHING_CAN_BE_WRITTEN
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.errors import LazarusError
from lazarus_pl.grid.built_run import BuiltRun
from lazarus_pl.grid.cut_stacks import cost_of, cut_stacks
from lazarus_pl.grid.grid_spec import GridRun
from lazarus_pl.grid.grid_worker import GridWorker
from lazarus_pl.grid.leaderboard import Leaderboard
from lazarus_pl.grid.run_result import RunResult
from lazarus_pl.grid.stack_key import stack_key
from lazarus_pl.lightning_cli import LazarusCLI
from lazarus_pl.progress import Progress
from lazarus_pl.tasks.stacked_run import StackedRun
from lazarus_pl.tasks.stacked_task import StackedTask

_LOG = logging.getLogger(__name__)
_RUNS, _LOCKS = "runs", "locks"
_SECONDS_BETWEEN_LOOKS = 0.2

# is told what is done, and which part of it is over
_Tell = Callable[[str, float], None]


class Grid:
    """Trains every run that has not been trained, and ranks them.

    A run is what ``lazarus fit`` with the same arguments would be, with a TensorBoard version of
    its own below ``out/runs``. Runs of the same data, seed and trainer share a pass over the data,
    and come out as they would have alone. On a CPU a large grid is trained in two processes that
    share the cores. One that fails is noted and does not stop the others.

    Args:
        runs: What to train.
        cache: The feature cache.
        out: Where everything is written.
        gpu_memory: What training may take of the GPU, such as ``4GB``; None for what there is.
    """

    def __init__(
        self, runs: Sequence[GridRun], cache: Path, out: Path, gpu_memory: str | None = None
    ) -> None:
        if not runs:
            raise LazarusError("the grid has no runs: name at least one config")
        self._runs = runs
        self._cache = cache
        self._out = out
        self._gpu_memory = gpu_memory
        self._data_digest = _data_digest(cache)
        self._built: dict[str, BuiltRun] = {}

    def run(self) -> Leaderboard:
        """Trains what is left to train and writes the leaderboard whenever runs are done."""
        done = {run.name: result for run in self._runs if (result := self._finished(run))}
        with Progress("training", len(self._runs), "runs") as progress:
            progress.advance(len(done))
            left = [run for run in self._runs if run.name not in done]
            stacks = list(self._stacks(left))
            threads = torch.get_num_threads()
            parts = cut_stacks(stacks, self._built, threads)
            stacks = parts or stacks
            with self._beside(parts, threads) as worker:
                for stack, span in zip(stacks, pairwise(self._shares(stacks)), strict=True):
                    with self._claimed(stack) as is_ours:
                        if is_ours:
                            self._train_stack(stack, done, progress, span)
                while worker is not None and worker.is_at_work:
                    progress.advance(0, "waiting for a second process", 1.0)
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
            # what that did is there, what it did not is done now
            for stack in stacks:
                if any(run.name not in done for run in stack):
                    self._train_stack(stack, done, progress, (1.0, 1.0))
        board = self._board(done)
        board.write(self._out)
        return board

    def _train_stack(
        self,
        stack: Sequence[GridRun],
        done: dict[str, RunResult],
        progress: Progress,
        span: tuple[float, float],
    ) -> None:
        """Trains what is left of a stack, and writes the leaderboard.

        Args:
            stack: Runs that can be trained together.
            done: Gets their results.
            progress: Is told.
            span: Of the whole time, what is over before and after it.
        """
        before, after = span

        def tell(note: str, part: float) -> None:
            progress.advance(0, note, before + part * (after - before))

        tell(_name(stack), 0.0)
        done |= {result.run: result for result in self._train_all(stack, tell)}
        self._board(done).write(self._out)
        progress.advance(len(stack), share=after)

    def _shares(self, stacks: Sequence[list[GridRun]]) -> list[float]:
        """Of the whole time, what is over before each of the stacks, and after all of them."""
        costs = {name: cost_of(built) for name, built in self._built.items()}
        usual = sum(costs.values()) / len(costs) if costs else 1.0
        times = [sum(costs.get(run.name, usual) for run in stack) for stack in stacks]
        return [over / max(sum(times), 1e-9) for over in accumulate(times, initial=0.0)]

    def train_parts(self, parts: Sequence[Sequence[str]]) -> None:
        """Trains the parts of a grid that no other process is at work on.

        Args:
            parts: Names of runs that can be trained together.
        """
        for names in parts:
            part = [run for run in self._runs if run.name in names]
            with self._claimed(part) as is_ours:
                if is_ours and not all(map(self._finished, part)):
                    for stack in self._stacks(part):
                        self._train_all(stack)

    @contextmanager
    def _claimed(self, stack: Sequence[GridRun]) -> Iterator[bool]:
        """Whether nobody else is at work on it; the system releases it when a process ends."""
        (self._out / _LOCKS).mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._out / _LOCKS / f"{stack[0].name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @contextmanager
    def _beside(
        self, parts: Sequence[Sequence[GridRun]] | None, threads: int
    ) -> Iterator[GridWorker | None]:
        """A second process that takes parts in turn with this one, each on half of the cores."""
        if parts is None:
            yield None
            return
        runs = [run for part in parts for run in part]
        names = [[run.name for run in part] for part in parts]
        torch.set_num_threads(threads - threads // 2)
        try:
            with GridWorker(
                runs, names, self._cache, self._out, self._gpu_memory, threads // 2
            ) as worker:
                yield worker
        finally:
            torch.set_num_threads(threads)

    def _board(self, done: Mapping[str, RunResult]) -> Leaderboard:
        return Leaderboard([done[run.name] for run in self._runs if run.name in done])

    def _stacks(self, runs: Sequence[GridRun]) -> Iterator[list[GridRun]]:
        """Runs that can be trained together, in the order of the first of each."""
        stacks: dict[str, list[GridRun]] = {}
        for run in runs:
            stacks.setdefault(self._stack_key(run) or run.name, []).append(run)
        return iter(stacks.values())

    def _stack_key(self, run: GridRun) -> str | None:
        try:
            built = BuiltRun(self._arguments(run))
        # it will be said where the run is trained
        except Exception as error:
            _LOG.debug("", exc_info=error)
            return None
        key = stack_key(built)
        if key is not None:
            self._built[run.name] = built
        return key

    def _train_all(
        self, stack: Sequence[GridRun], tell: _Tell = lambda note, part: None
    ) -> list[RunResult]:
        left = [run for run in stack if self._finished(run) is None]
        if len(left) > 1:
            self._train_together(left, tell)
        return [self._finished(run) or self._train(run) for run in stack]

    def _folder(self, run: GridRun) -> Path:
        return self._out / _RUNS / run.name

    def _finished(self, run: GridRun) -> RunResult | None:
        result = RunResult.read(self._folder(run))
        if result is None or result.error or result.digest != self._digest(run):
            return None
        return result if (self._out / result.checkpoint).is_file() else None

    def _digest(self, run: GridRun) -> str:
        parts = [self._data_digest, run.config.read_text(), sorted(run.overrides.items())]
        if "views" in json.dumps(parts, default=str):
            parts.append(_views_digest(self._cache))
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()

    def _train(self, run: GridRun) -> RunResult:
        self._built.pop(run.name, None)
        folder = self._emptied(run)
        started = time.monotonic()
        try:
            result = self._fit(run, started)
        # whatever a run dies of, the others are worth having
        except Exception as error:
            if _is_full(error):
                raise
            _LOG.warning("the run %s failed: %s", run.name, _said(error))
            _LOG.debug("", exc_info=error)
            result = self._failed(run, time.monotonic() - started, _said(error))
        result.write(folder)
        return result

    def _fit(self, run: GridRun, started: float) -> RunResult:
        cli = LazarusCLI(self._arguments(run))
        checkpoint = cli.trainer.checkpoint_callback
        if not isinstance(checkpoint, ModelCheckpoint) or not checkpoint.best_model_path:
            raise LazarusError("its config keeps no best checkpoint: add a ModelCheckpoint")
        seconds, epochs = time.monotonic() - started, cli.trainer.current_epoch
        seed = int(cli.config["fit"]["seed_everything"])
        lr = float(cli.model.hparams.get("lr", math.nan))
        return self._result(run, Path(checkpoint.best_model_path), lr, seed, epochs, seconds)

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
        built = [self._built.pop(run.name) for run in stack]
        stacked = [one.stacked() for one in built]
        for run, one in zip(stack, built, strict=True):
            self._emptied(run)
            one.write_config()

        def write(done: StackedRun) -> None:
            run = stack[stacked.index(done)]
            # its share of the time
            seconds = (time.monotonic() - started) / len(stack)
            result = self._result(run, done.best, done.task.lr, built[0].seed, done.epochs, seconds)
            result.write(self._folder(run))

        trainer: Any = built[0].trainer
        # what the config's do is done for each run by itself
        trainer.logger = None
        trainer.callbacks = [
            LambdaCallback(
                on_train_epoch_start=lambda trainer, _: tell(
                    f"{_name(stack)}, epoch {trainer.current_epoch + 1} of {trainer.max_epochs}",
                    trainer.current_epoch / max(trainer.max_epochs or 1, 1),
                )
            )
        ]
        # others may have been built since
        seed_everything(built[0].seed, workers=True, verbose=False)
        trainer.fit(StackedTask(stacked, write), datamodule=built[0].datamodule)

    def _emptied(self, run: GridRun) -> Path:
        folder = self._folder(run)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _result(
        self, run: GridRun, best: Path, lr: float, seed: int, epochs: int, seconds: float
    ) -> RunResult:
        scores = _scores(best)
        return RunResult(
            run=run.name,
            head=run.head,
            lr=lr,
            seed=seed,
            val_macro_f1=scores["val/macro_f1"],
            val_accuracy=scores["val/accuracy"],
            epochs=epochs,
            seconds=seconds,
            checkpoint=best.resolve().relative_to(self._out.resolve()).as_posix(),
            digest=self._digest(run),
        )

    def _arguments(self, run: GridRun) -> list[str]:
        logger = {
            "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
            "init_args": {
                "save_dir": str(self._out),
                "name": _RUNS,
                "version": run.name,
                "default_hp_metric": False,
            },
        }
        # not of the run's digest: batches in parts train the same
        limit = [] if self._gpu_memory is None else [f"--budget.gpu_memory={self._gpu_memory}"]
        return [
            *run.arguments(),
            *limit,
            f"--data.init_args.cache={self._cache}",
            f"--trainer.logger={json.dumps(logger)}",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
        ]

    def _failed(self, run: GridRun, seconds: float, reason: str) -> RunResult:
        return RunResult(
            run=run.name,
            head=run.head,
            lr=_number(run.overrides.get("model.init_args.lr"), math.nan),
            seed=int(_number(run.overrides.get("seed_everything"), 0)),
            val_macro_f1=math.nan,
            val_accuracy=math.nan,
            epochs=0,
            seconds=seconds,
            checkpoint="",
            digest=self._digest(run),
            error=reason,
        )


def _name(stack: Sequence[GridRun]) -> str:
    return stack[0].name if len(stack) == 1 else f"{len(stack)} runs together"


def _is_full(error: Exception) -> bool:
    """Whether nothing more can be written: then no other run can be trained either."""
    return isinstance(error, OSError) and error.errno in NOTHING_CAN_BE_WRITTEN


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _number(value: object, otherwise: float) -> float:
    """What a failed run was asked for, which need not be a number."""
    return value if isinstance(value, (int, float)) else otherwise


def _data_digest(cache: Path) -> str:
    """What a run is given: features, labels and sides."""
    digest = hashlib.sha256(f"{__version__}{CacheHeader.read(cache).key}".encode())
    column = Manifest.read(cache).column
    for row in zip(column("sha256"), column("label"), column("split"), strict=True):
        digest.update(f"{''.join(row)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _views_digest(cache: Path) -> str:
    """Which views there are."""
    digest = hashlib.sha256()
    for header in ViewsHeader.all(cache):
        digest.update(header.digest.encode())
        digest.update((header.folder(cache) / "jobs.csv").read_bytes())
    return digest.hexdigest()


def _scores(checkpoint: Path) -> dict[str, float]:
    """The metrics of the epoch that a checkpoint was saved at."""
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return dict(content["lazarus"]["scores"])
