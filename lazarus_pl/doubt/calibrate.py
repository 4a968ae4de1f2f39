"""The verb ``lazarus calibrate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    from lazarus_pl.doubt.doubt import Doubt
    from lazarus_pl.tasks.classification_task import ClassificationTask

COVERAGE = 0.95
FALSE_ALARM = 0.05

# enough for a covariance, and read in seconds
TRAINING_PHOTOS = 2048


def calibrate(
    ckpt: Path, cache: Path, coverage: float = COVERAGE, false_alarm: float = FALSE_ALARM
) -> None:
    """Teaches a checkpoint to doubt: its probabilities, its prediction sets, and strange photos.

    A temperature, a threshold for prediction sets and a distance from the training photos are
    fitted on the cache's val and written into the checkpoint, whose predictions stay what they
    are. lazarus grid does it for best.ckpt by itself.

    Args:
        ckpt: A checkpoint of lazarus fit or lazarus grid; it is replaced in one step.
        cache: The feature cache that it was trained on.
        coverage: Share of photos like val whose prediction set is to hold their class.
        false_alarm: Share of leaves like those of val that may be called unknown.
    """
    doubt = calibrate_checkpoint(ckpt, cache, coverage, false_alarm)
    print("\n".join(describe(doubt)))


def calibrate_checkpoint(
    ckpt: Path, cache: Path, coverage: float = COVERAGE, false_alarm: float = FALSE_ALARM
) -> Doubt:
    """Fits doubt on val and writes it into a checkpoint.

    Args:
        ckpt: The checkpoint.
        cache: The feature cache that it was trained on.
        coverage: As in :func:`calibrate`.
        false_alarm: As in :func:`calibrate`.

    Raises:
        LazarusError: If the checkpoint or the cache cannot be used, they do not belong together,
            val has no photos or was trained on, or a share is none.
    """
    for name, share in (("coverage", coverage), ("false_alarm", false_alarm)):
        if not 0 < share < 1:
            raise LazarusError(f"{name} {share} must be above 0 and below 1")
    import torch

    from lazarus_pl.cache.feature_cache import FeatureCache
    from lazarus_pl.tasks.check_checkpoint import check_data
    from lazarus_pl.tasks.load_task import load_task
    from lazarus_pl.tasks.read_checkpoint import read_checkpoint

    task, features = load_task(ckpt), FeatureCache(cache)
    there = list(features.manifest.class_names), features.encoder
    check_data(task.class_names, task.encoder, *there, f"'{ckpt}'", f"the cache '{cache}'")
    content: dict[str, Any] = read_checkpoint(ckpt)
    if "val" in content["lazarus"].get("trained_on", ()):
        raise LazarusError(
            f"'{ckpt}' was trained on the photos of val, which can no longer say how sure it may "
            "be: calibrate a checkpoint that was trained on train alone"
        )
    doubt = fit_doubt(task, cache, coverage, false_alarm)
    content["lazarus"]["doubt"] = doubt.to_plain()
    with replace_file(ckpt) as file:
        torch.save(content, file)
    return doubt


def fit_doubt(task: ClassificationTask, cache: Path, coverage: float, false_alarm: float) -> Doubt:
    """Reads train and val of a cache and learns what is usual there.

    Args:
        task: In evaluation mode.
        cache: The feature cache that it was trained on.
        coverage: As in :func:`calibrate`.
        false_alarm: As in :func:`calibrate`.

    Raises:
        LazarusError: If val has no photos.
    """
    from lazarus_pl.doubt.doubt import Doubt
    from lazarus_pl.doubt.readings import Readings

    val = Readings.of_side(task, cache, "val")
    if not len(val.target):
        raise LazarusError(
            f"the split of '{cache}' has no val photos to calibrate on: extract with "
            "--split.fractions that leave some"
        )
    train = Readings.of_side(task, cache, "train", TRAINING_PHOTOS)
    return Doubt.fit(train, val, coverage, false_alarm)


def describe(doubt: Doubt) -> list[str]:
    """What was fitted and what it gives on val, a sentence a line."""
    val = {name: math.nan if value is None else value for name, value in doubt.val.items()}
    lines = [
        f"temperature {doubt.temperature:.3f}: calibration error on val "
        f"{val['calibration_error_before']:.4f} before, {val['calibration_error']:.4f} after",
        f"prediction sets for a coverage of {doubt.coverage:g}: classes from a probability of "
        f"{doubt.set_threshold:.3f} on, {val['set_size']:.2f} classes a set on val",
        f"of {val['photos']:.0f} val photos {val['answered']:.1%} are answered (accuracy "
        f"{val['accuracy_answered']:.4f}, that of all {val['accuracy']:.4f}), "
        f"{val['unsure']:.1%} are unsure, {val['unknown']:.1%} not known",
    ]
    return [*lines, doubt.no_promise] if doubt.no_promise else lines
