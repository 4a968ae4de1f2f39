"""The verb ``lazarus grid``."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from jsonargparse.typing import Path_fr

from callbacks.version_files import is_whole
from lazarus_pl.data.atomic import copy_file, replace_file
from lazarus_pl.errors import LazarusError
from lazarus_pl.grid.grid_spec import GridSpec, Value
from lazarus_pl.grid.run_result import RunResult

_LOG = logging.getLogger(__name__)
_UNREAD: dict[str, float | None] = {"test_macro_f1": None, "test_accuracy": None}


def grid(
    cache: Path,
    out: Path,
    configs: dict[str, Path_fr],
    axes: dict[str, list[Value]] | None = None,
    overrides: dict[str, Value] | None = None,
) -> None:
    """Trains a grid of runs on one cache, ranks them by macro-F1 on val, scores the best on test.

    Finished runs are not repeated; a run that fails does not stop the rest.

    Args:
        cache: Folder of a finished feature cache.
        out: Folder for leaderboard.csv, best.ckpt, summary.json and the runs.
        configs: Config files of lazarus fit by name; relative paths start at this file.
        axes: Config keys and the values that each takes; every combination is a run.
        overrides: Values by config key, for every run.
    """
    spec = GridSpec(configs, axes or {}, overrides or {})
    _check_views(spec, cache)
    summary = run_grid(spec, cache, out)
    print((out / "leaderboard.md").read_text(encoding="utf-8"))
    print(f"best: {summary['run']}, its checkpoint is '{out / 'best.ckpt'}'")
    if summary["test_macro_f1"] is not None:
        print(
            f"test: macro-F1 {summary['test_macro_f1']:.4f}, "
            f"accuracy {summary['test_accuracy']:.4f}"
        )
    for line in _doubt_lines(summary, out / "best.ckpt"):
        print(line)
    print(f"curves: tensorboard --logdir '{out / 'runs'}'")


def run_grid(
    spec: GridSpec,
    cache: Path,
    out: Path,
    read_test: bool = True,
    gpu_memory: str | None = None,
) -> dict[str, Any]:
    """Runs a grid, copies the winner and reads test once for it.

    Args:
        spec: The grid.
        cache: Folder of a finished feature cache.
        out: Where everything is written.
        read_test: Whether test is read; not where others still compete with the winner.
        gpu_memory: What training may take of the GPU, such as ``4GB``; None for what there is.

    Returns:
        What stands in ``summary.json``.

    Raises:
        LazarusError: If the cache or a config cannot be used, or every run failed.
    """
    from lazarus_pl.cache.feature_cache import FeatureCache
    from lazarus_pl.grid.grid import Grid
    from lazarus_pl.lightning_cli import interruptible, quiet

    quiet()
    started = time.monotonic()
    runs = list(spec.runs())
    features = FeatureCache(cache)
    _make_folder(out)
    with interruptible():
        leaderboard = Grid(runs, cache, out, gpu_memory).run()
    best = leaderboard.best
    if best is None:
        raise LazarusError(
            f"all {len(runs)} runs of the grid failed; the first one: "
            f"{leaderboard.results[0].error}"
        )
    if known := _known_summary(out, best.digest, read_test):
        return known
    copy_file(out / best.checkpoint, out / "best.ckpt")
    summary: dict[str, Any] = {
        **_scores(best, out / "best.ckpt", cache, read_test),
        "images": len(features.manifest.photos),
        "classes": features.manifest.num_classes,
        "quarantined": len(features.manifest.quarantine),
        "seconds": time.monotonic() - started,
    }
    with replace_file(out / "summary.json") as file:
        file.write(json.dumps(summary, indent=2).encode())
    return summary


def _check_views(spec: GridSpec, cache: Path) -> None:
    """Refuses a grid that compares what is not there: half of it would be trained in vain."""
    from lazarus_pl.cache.cached_views import CachedViews
    from lazarus_pl.cache.feature_cache import FeatureCache

    keys = ("data.init_args.views", "data.init_args.views_policy")
    asked = {(run.value(keys[0]), run.value(keys[1])) for run in spec.runs()}
    features = FeatureCache(cache)
    for views, policy in sorted(asked, key=str):
        # what is no number is told where it is read for good
        if views == "all" or (isinstance(views, int) and views > 0):
            CachedViews(features, policy, None if views == "all" else views)


def _scores(best: RunResult, checkpoint: Path, cache: Path, read_test: bool) -> dict[str, Any]:
    """What the winner is worth; teaches its checkpoint to doubt."""
    doubt = _doubt(checkpoint, cache, read_test)
    return {
        "run": best.run,
        "head": best.head,
        "digest": best.digest,
        "val_macro_f1": best.val_macro_f1,
        **(_test(checkpoint, cache) if read_test else _UNREAD),
        "doubt": doubt,
    }


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LazarusError(
            f"'{out}' cannot be made ({error.strerror}): name another folder with --out"
        ) from error


def _known_summary(out: Path, digest: str, read_test: bool) -> dict[str, Any] | None:
    """What stands in ``summary.json``, if it is of this winner, and of test if that is read."""
    try:
        content: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    except (OSError, ValueError):
        return None
    if content.get("digest") != digest or (read_test and content["test_macro_f1"] is None):
        return None
    return content if is_whole(out / "best.ckpt") else None


def _doubt(checkpoint: Path, cache: Path, read_test: bool) -> dict[str, Any] | None:
    """Teaches the winner to doubt, and says what that is worth on val and, if read, on test."""
    from lazarus_pl.doubt.calibrate import calibrate_checkpoint
    from lazarus_pl.doubt.readings import Readings
    from lazarus_pl.tasks.load_task import load_task

    try:
        doubt = calibrate_checkpoint(checkpoint, cache)
    # the trained runs are worth having without it
    except Exception as error:
        _LOG.warning("%s is not calibrated: %s", checkpoint.name, error)
        return None
    test = Readings.of_side(load_task(checkpoint), cache, "test") if read_test else None
    return {
        "temperature": doubt.temperature,
        "coverage": doubt.coverage,
        "set_threshold": doubt.set_threshold,
        "false_alarm": doubt.false_alarm,
        "val": doubt.val,
        "test": doubt.measure(test) if test is not None and len(test.target) else None,
    }


def _doubt_lines(summary: dict[str, Any], checkpoint: Path) -> list[str]:
    from lazarus_pl.doubt.doubt import Doubt

    test = (summary.get("doubt") or {}).get("test")
    if test is None:
        return []
    right = test["accuracy_answered"]
    doubt = Doubt.of_checkpoint(checkpoint)
    why = [doubt.no_promise] if doubt and doubt.no_promise else []
    return [
        f"doubt: {test['answered']:.1%} of test are answered"
        + ("" if right is None else f", with accuracy {right:.4f}")
        + f"; calibration error "
        f"{test['calibration_error_before']:.4f} before calibration, "
        f"{test['calibration_error']:.4f} after",
        *why,
    ]


def _test(checkpoint: Path, cache: Path) -> dict[str, float | None]:
    from lightning.pytorch import Trainer

    from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
    from lazarus_pl.tasks.load_task import load_task

    task = load_task(checkpoint)
    data = CachedFeatureDataModule(str(cache), layers=tuple(task.feature_shapes))
    if not data.has_test:
        return _UNREAD
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    scores = trainer.test(task, datamodule=data, verbose=False)[0]
    return {
        "test_macro_f1": float(scores["test/macro_f1"]),
        "test_accuracy": float(scores["test/accuracy"]),
    }
