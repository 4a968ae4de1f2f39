"""What a loss is multiplied with before its backward pass."""

from __future__ import annotations

import torch
from lightning.pytorch import Trainer
from torch import Tensor


def loss_scale(trainer: Trainer, device: torch.device) -> Tensor | None:
    """The scale of a trainer's loss scaler, on the device and without waiting for it; or None."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if not isinstance(scaler, torch.amp.GradScaler) or not scaler.is_enabled():
        return None
    scaled: Tensor = scaler.scale(torch.ones((), device=device))
    return scaled
