"""Many runs on one cache."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from lazarus_pl import __version__
from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.data.atomic import NOTHING_CAN_BE_WRITTEN
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.errors import LazarusError
from lazarus_pl.grid.grid_spec import GridRun
from lazarus_pl.grid.leaderboard import Leaderboard
from lazarus_pl.grid.run_result import RunResult
from lazarus_pl.lightning_cli import LazarusCLI
from lazarus_pl.progress import Progress

_LOG = logging.getLogger(__name__)
_RUNS = "runs"


class Grid:
    """Trains every run that has not been trained, and ranks them.

    A run is what ``lazarus fit`` with the same arguments would be, with a TensorBoard version of
    its own below ``out/runs``. One that fails is noted and does not stop the others.

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

    def run(self) -> Leaderboard:
        """Trains what is left to train and writes the leaderboard after every run."""
        results: list[RunResult] = []
        with Progress("training", len(self._runs), "runs") as progress:
            for run in self._runs:
                progress.advance(0, note=run.name)
                results.append(self._finished(run) or self._train(run))
                Leaderboard(results).write(self._out)
                progress.advance()
        return Leaderboard(results)

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
        folder = self._folder(run)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        started = time.monotonic()
        try:
            result = self._fit(run, started)
        # whatever a run dies of, the others are worth having
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NOTHING_CAN_BE_WRITTEN:
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            _LOG.warning("the run %s failed: %s", run.name, reason)
            _LOG.debug("", exc_info=error)
            result = self._failed(run, time.monotonic() - started, reason)
        result.write(folder)
        return result

    def _fit(self, run: GridRun, started: float) -> RunResult:
        cli = LazarusCLI([*run.arguments(), *self._trainer_arguments(run)])
        checkpoint = cli.trainer.checkpoint_callback
        if not isinstance(checkpoint, ModelCheckpoint) or not checkpoint.best_model_path:
            raise LazarusError("its config keeps no best checkpoint: add a ModelCheckpoint")
        best = Path(checkpoint.best_model_path)
        scores = _scores(best)
        return RunResult(
            run=run.name,
            head=run.head,
            lr=float(cli.model.hparams.get("lr", math.nan)),
            seed=int(cli.config["fit"]["seed_everything"]),
            val_macro_f1=scores["val/macro_f1"],
            val_accuracy=scores["val/accuracy"],
            epochs=cli.trainer.current_epoch,
            seconds=time.monotonic() - started,
            checkpoint=best.resolve().relative_to(self._out.resolve()).as_posix(),
            digest=self._digest(run),
        )

    def _trainer_arguments(self, run: GridRun) -> list[str]:
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
    import torch

    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return dict(content["lazarus"]["scores"])
