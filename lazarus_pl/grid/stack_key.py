"""Which runs of a grid can share a pass over the data."""

from __future__ import annotations

import json
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    ModelSummary,
    ProgressBar,
)
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks import MemoryBudget, MixedPrecisionGuard
from callbacks.among_callbacks import among_callbacks
from lazarus_pl.grid.built_run import BuiltRun
from lazarus_pl.tasks.classification_task import ClassificationTask

# what they do concerns no run by itself, or nothing without fp16
_HARMLESS = (MixedPrecisionGuard, ModelSummary, ProgressBar, SaveConfigCallback)


def stack_key(run: BuiltRun) -> str | None:
    """What two runs have in common if they can be trained together.

    Heads, learning rates and other arguments of the model may differ; data, seed and trainer may
    not.

    Args:
        run: Of the grid.

    Returns:
        A text that is the same for runs that go together; None for one that needs a trainer of its
        own: for mixup, a loss scaler, clipped or accumulated gradients, several devices, a budget
        of memory, or callbacks of other kinds.
    """
    if type(run.model) is not ClassificationTask or run.model.mixup:
        return None
    callbacks = among_callbacks(run.trainer, Callback)
    if not (_is_plain(run.trainer) and all(map(_is_known, callbacks))):
        return None
    if len(among_callbacks(run.trainer, ModelCheckpoint)) != 1:
        return None
    if len(among_callbacks(run.trainer, EarlyStopping)) > 1:
        return None
    config: dict[str, Any] = run.config["fit"].as_dict()
    trainer = {key: value for key, value in config["trainer"].items() if key != "logger"}
    parts = [config["data"], config["seed_everything"], trainer]
    return json.dumps(parts, default=str, sort_keys=True)


def _is_plain(trainer: Trainer) -> bool:
    return (
        trainer.num_devices == trainer.num_nodes == 1
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and not trainer.gradient_clip_val
        and trainer.accumulate_grad_batches == 1
        and trainer.val_check_interval == 1.0
        and trainer.check_val_every_n_epoch == 1
        and isinstance(trainer.logger, TensorBoardLogger)
    )


def _is_known(callback: Callback) -> bool:
    if isinstance(callback, MemoryBudget):
        return not callback.is_asked_for
    if isinstance(callback, ModelCheckpoint):
        return _keeps_the_best(callback)
    if isinstance(callback, EarlyStopping):
        return callback.stopping_threshold is callback.divergence_threshold is None
    return isinstance(callback, _HARMLESS)


def _keeps_the_best(callback: ModelCheckpoint) -> bool:
    """One file, always of the same name, beside the logs."""
    name = callback.filename or "{}"
    return (
        callback.monitor is not None
        and callback.save_top_k == 1
        and not callback.save_last
        and not callback.save_weights_only
        and callback.dirpath is None
        and "{" not in name
    )
