"""What TensorBoard shows of a finished training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric.loggers.logger import Logger
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from lazarus_pl.tasks.confusion_figure import confusion_figure

_SCORES = ("macro_f1", "accuracy", "calibration_error")
# with the seed as many as TensorBoard shows without being asked to
_HPARAMS = ("head", "lr", "mixup", "weight_decay")


def draw_confusion(
    logger: Logger | None, side: str, counts: Tensor, class_names: list[str], step: int
) -> None:
    """Draws a confusion matrix ``(classes, classes)``, where the logger takes figures."""
    draw = getattr(getattr(logger, "experiment", None), "add_figure", None)
    if draw is not None:
        draw(f"confusion/{side}", confusion_figure(counts.cpu().numpy(), class_names), step)


def log_hparams(
    logger: Logger | None, hparams: Mapping[str, Any], scores: Mapping[str, Any], step: int
) -> None:
    """Adds a row to TensorBoard's table of hyperparameters.

    Args:
        logger: Nothing is done unless it is TensorBoard's.
        hparams: Of the task.
        scores: Of its best epoch, by name.
        step: When training ended.
    """
    known = {name: float(scores[f"val/{name}"]) for name in _SCORES if f"val/{name}" in scores}
    if not known or not isinstance(logger, TensorBoardLogger):
        return
    chosen = {name: hparams[name] for name in _HPARAMS}
    best = {f"val_best/{name}": value for name, value in known.items()}
    logger.log_hyperparams({**chosen, "seed": torch.initial_seed()}, best, step=step)
