"""The optimizer of all tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.cosine_schedule import CosineSchedule


def adamw_with_cosine(
    trainer: Trainer,
    device: torch.device,
    groups: Sequence[dict[str, Any]],
    warmups: Sequence[float],
) -> OptimizerLRScheduler:
    """AdamW whose rates rise and fall as in :class:`CosineSchedule`, stepped every batch.

    Args:
        trainer: Knows how many steps there will be.
        device: Where the parameters are.
        groups: Each with ``params``, ``lr`` and ``weight_decay``.
        warmups: Of each group, the share of all steps in which its rate rises.

    Raises:
        LazarusError: If the training has no end that a schedule could lead to.
    """
    fused = takes_fused_steps(trainer, device)
    optimizer = AdamW(groups, fused=fused)
    optimizer.register_load_state_dict_pre_hook(partial(_keep_kind_of_step, fused))
    total = trainer.estimated_stepping_batches
    if not math.isfinite(total):
        raise LazarusError(
            "the learning rate falls towards the end of the training, which has none: give "
            "trainer.max_epochs or trainer.max_steps"
        )
    schedule = LambdaLR(optimizer, [_function_of(int(total), warmup) for warmup in warmups])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _function_of(total: int, warmup: float) -> Callable[[int], float]:
    """A plain function: an object would be given the length of the run that is continued."""
    schedule = CosineSchedule(total, warmup)
    return lambda step: schedule(step)


def takes_fused_steps(trainer: Trainer, device: torch.device) -> bool:
    """Where one kernel does a step: on a CPU it costs a tenth of a loop over the tensors.

    Not where Lightning clips gradients in mixed precision: it cannot with such a step.
    """
    mixed = isinstance(trainer.precision_plugin, MixedPrecision)
    clipped = bool(trainer.gradient_clip_val)
    return device.type in ("cpu", "cuda") and not (mixed and clipped)


def _keep_kind_of_step(
    fused: bool, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> dict[str, Any]:
    """Steps as this run does, whatever the run did that is continued.

    A loss scaler relies on what the optimizer said when it was built.
    """
    return {**state, "param_groups": [{**each, "fused": fused} for each in state["param_groups"]]}
