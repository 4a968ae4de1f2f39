"""Which runs of a grid can share a pass over the data."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    ModelSummary,
    RichModelSummary,
    RichProgressBar,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks import MemoryBudget, MixedPrecisionGuard
from callbacks.among_callbacks import among_callbacks
from lazarus_pl.grid.built_run import BuiltRun
from lazarus_pl.save_fit_config import SaveFitConfig
from lazarus_pl.tasks.classification_task import ClassificationTask

# what they do concerns no run by itself, or nothing without fp16; subclasses may do anything
_HARMLESS = (
    MemoryBudget,
    MixedPrecisionGuard,
    ModelSummary,
    RichModelSummary,
    RichProgressBar,
    SaveFitConfig,
    TQDMProgressBar,
)
# arguments that need not be as they are by default, for runs that are trained together
_FREE: dict[type, tuple[str, ...]] = {
    EarlyStopping: (
        *("monitor", "mode", "patience", "min_delta", "check_finite"),
        *("verbose", "log_rank_zero_only"),
    ),
    ModelCheckpoint: (
        *("monitor", "mode", "filename", "enable_version_counter"),
        *("verbose", "auto_insert_metric_name"),
    ),
    Trainer: (
        *("accelerator", "devices", "precision", "benchmark", "deterministic"),
        *("max_epochs", "max_steps", "limit_train_batches", "num_sanity_val_steps"),
        *("callbacks", "logger", "log_every_n_steps", "default_root_dir"),
        *("enable_progress_bar", "enable_model_summary"),
    ),
}


def stack_key(run: BuiltRun) -> str | None:
    """What two runs have in common if they can be trained together.

    Heads, learning rates and other arguments of the model may differ; data, seed and trainer may
    not.

    Args:
        run: Of the grid.

    Returns:
        A text that is the same for runs that go together; None for one that needs a trainer of its
        own: for mixup, a loss scaler (fp16), clipped or accumulated gradients, an optimizer of its
        own, several devices, batches in parts, or anything else that is not known to be the same
        beside others.
    """
    config: dict[str, Any] = run.config["fit"].as_dict()
    trainer = config["trainer"]
    if type(run.model) is not ClassificationTask or run.model.mixup:
        return None
    if any(config.get(name) for name in ("optimizer", "lr_scheduler", "ckpt_path")):
        return None
    if not (_can_be_capped(run.trainer, config["budget"]) and _is_usual(Trainer, trainer)):
        return None
    if not (_is_plain(run.trainer) and _are_known(among_callbacks(run.trainer, Callback))):
        return None
    listed = trainer["callbacks"] or []
    if not all(map(_is_usual_callback, listed if isinstance(listed, list) else [listed])):
        return None
    same = {key: value for key, value in trainer.items() if key != "logger"}
    parts = [config["data"], run.seed, same, config["budget"]]
    return json.dumps(parts, default=str, sort_keys=True)


def _can_be_capped(trainer: Trainer, budget: Mapping[str, Any]) -> bool:
    """CUDA is capped for all runs at once; on a CPU there is no GPU's memory to be spared."""
    if budget["micro_batch"] is not None:
        return False
    return budget["gpu_memory"] is None or trainer.strategy.root_device.type in ("cuda", "cpu")


def _is_usual(kind: type, given: Mapping[str, Any]) -> bool:
    """Whether all that is not free is as it is by default."""
    known = inspect.signature(kind).parameters
    return all(name in _FREE[kind] or value == known[name].default for name, value in given.items())


def _is_plain(trainer: Trainer) -> bool:
    return (
        trainer.num_devices == trainer.num_nodes == 1
        and trainer.strategy.root_device.type in ("cpu", "cuda")
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and isinstance(trainer.logger, TensorBoardLogger)
    )


def _are_known(callbacks: list[Callback]) -> bool:
    """Whether there is one checkpoint, at most one early stopping, and nothing that does more."""
    kinds = [type(callback) for callback in callbacks if type(callback) not in _HARMLESS]
    checkpoints, stoppings = kinds.count(ModelCheckpoint), kinds.count(EarlyStopping)
    return checkpoints == 1 and stoppings <= 1 and len(kinds) == checkpoints + stoppings


def _is_usual_callback(listed: Mapping[str, Any]) -> bool:
    """Of the two that matter: judges val, and keeps one file, always of the same name."""
    given = listed.get("init_args") or {}
    kinds = {kind.__name__: kind for kind in (EarlyStopping, ModelCheckpoint)}
    kind = kinds.get(listed["class_path"].rpartition(".")[2])
    if kind is None:
        return True
    name = given.get("filename", "best") or "{}"
    judges_val = str(given.get("monitor")).startswith("val/")
    return judges_val and not set(name) & set("{/\\") and _is_usual(kind, given)
