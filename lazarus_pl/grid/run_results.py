"""What came of the runs of a grid, as it stands in their folders."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from lazarus_pl import __version__
from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.config_text import config_text
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.grid.grid_spec import GridRun
from lazarus_pl.grid.run_result import RunResult

RUNS = "runs"


class RunResults:
    """Reads and writes the results of runs; several processes may.

    Args:
        cache: The feature cache.
        out: The grid's folder.
    """

    def __init__(self, cache: Path, out: Path) -> None:
        self._cache = cache
        self._out = out
        self._data_digest = _data_digest(cache)
        self._digests: dict[str, str] = {}

    def folder(self, run: GridRun) -> Path:
        """Where all of a run lies."""
        return self._out / RUNS / run.name

    def read(self, run: GridRun) -> RunResult | None:
        """The result of a run that was trained as it would be now, be it that it failed."""
        result = RunResult.read(self.folder(run))
        if result is None or result.digest != self._digest(run):
            return None
        return result if result.error or (self._out / result.checkpoint).is_file() else None

    def forget_failed(self, runs: Iterable[GridRun]) -> None:
        """Lets runs that failed in an earlier call be trained again."""
        for run in runs:
            result = self.read(run)
            if result is not None and result.error:
                RunResult.remove(self.folder(run))

    def write(
        self, run: GridRun, best: Path, lr: float, seed: int, epochs: int, seconds: float
    ) -> None:
        """Notes a run that ended well.

        Args:
            run: Of the grid.
            best: Checkpoint of its best epoch, below the grid's folder.
            lr: Its learning rate.
            seed: Of weights and order.
            epochs: Epochs trained.
            seconds: Time that it took.
        """
        scores = _scores(best)
        result = RunResult(
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
            val_loss=scores.get("val/loss", math.nan),
        )
        result.write(self.folder(run))

    def write_failed(self, run: GridRun, reason: str, seconds: float) -> None:
        """Notes a run that failed.

        Args:
            run: Of the grid.
            reason: Why, in one line.
            seconds: Time that it took.
        """
        result = RunResult(
            run=run.name,
            head=run.head,
            lr=_number(run.value("model.init_args.lr"), math.nan),
            seed=int(_number(run.value("seed_everything"), 0)),
            val_macro_f1=math.nan,
            val_accuracy=math.nan,
            epochs=0,
            seconds=seconds,
            checkpoint="",
            digest=self._digest(run),
            error=reason,
        )
        result.write(self.folder(run))

    def _digest(self, run: GridRun) -> str:
        if run.name not in self._digests:
            parts = [self._data_digest, _text(run.config), sorted(run.overrides.items())]
            if "views" in json.dumps(parts, default=str):
                parts.append(_views_digest(self._cache))
            content = json.dumps(parts, default=str).encode()
            self._digests[run.name] = hashlib.sha256(content).hexdigest()
        return self._digests[run.name]


def _text(config: Path) -> str:
    try:
        return config_text(config)
    # what is wrong with it is told where the run is trained
    except UnicodeDecodeError:
        return config.read_text(encoding="utf-8", errors="surrogateescape")


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
