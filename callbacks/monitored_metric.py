"""The value of the metric that a callback watches."""

from __future__ import annotations

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from torch import Tensor


def monitored_metric(trainer: Trainer, callback: Callback, name: str) -> Tensor:
    """What was logged under a name.

    Raises:
        MisconfigurationException: If nothing is there, with the names that are there.
    """
    value: Tensor | None = trainer.callback_metrics.get(name)
    if value is None:
        known = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
        raise MisconfigurationException(
            f"{type(callback).__name__} monitors {name!r}, which nothing logged: "
            f"log it in validation_step or choose among what is there ({known})"
        )
    return value
