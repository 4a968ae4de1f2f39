"""Doubt for a model that was trained on all photos that it could be calibrated on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.errors import LazarusError


def lend_doubt(source: Path, ckpt: Path, cache: Path, out: Path) -> None:
    """Writes a checkpoint anew, to be used, with the doubt of its forerunner.

    The forerunner was trained in the same way without val, and calibrated there: its temperature,
    its threshold and its figures of val are taken, since val's would now be much too sure. The
    distance is measured in the features that the model reads now; its limit is val's, which is a
    little tight where the encoder has learnt val too.

    Args:
        source: The calibrated forerunner.
        ckpt: The checkpoint that was trained on train and val.
        cache: The feature cache of both.
        out: File to write.

    Raises:
        LazarusError: If a checkpoint or the cache cannot be used, or the forerunner is not
            calibrated.
    """
    import torch

    from lazarus_pl.doubt.calibrate import TRAINING_PHOTOS
    from lazarus_pl.doubt.doubt import Doubt
    from lazarus_pl.doubt.feature_distance import FeatureDistance
    from lazarus_pl.doubt.readings import Readings
    from lazarus_pl.tasks.load_task import load_task
    from lazarus_pl.tasks.read_checkpoint import read_checkpoint
    from lazarus_pl.tasks.slim_checkpoint import slim_checkpoint

    theirs = Doubt.of_checkpoint(source)
    if theirs is None:
        raise LazarusError(f"'{source}' is not calibrated: run lazarus calibrate --ckpt {source}")
    task = load_task(ckpt)
    train = Readings.of_side(task, cache, "train", TRAINING_PHOTOS)
    val = Readings.of_side(task, cache, "val")
    distance = FeatureDistance.fit(train.features, val.features, theirs.false_alarm, val.groups)
    content = slim_checkpoint(read_checkpoint(ckpt))
    content["lazarus"]["doubt"] = replace(theirs, distance=distance).to_plain()
    with replace_file(out) as file:
        torch.save(content, file)
