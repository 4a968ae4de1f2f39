"""What a loss is multiplied with before its backward pass."""

from __future__ import annotations

import torch
from lightning.pytorch import Trainer
from torch import Tensor


def loss_scaler(trainer: Trainer) -> torch.amp.GradScaler | None:
    """The trainer's loss scaler; None where it has none that is in use."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler if isinstance(scaler, torch.amp.GradScaler) and scaler.is_enabled() else None


def loss_scale(trainer: Trainer, device: torch.device) -> Tensor | None:
    """The scale of a trainer's loss scaler, on the device and without waiting for it; or None."""
    scaler = loss_scaler(trainer)
    if scaler is None:
        return None
    scaled: Tensor = scaler.scale(torch.ones((), device=device))
    return scaled
