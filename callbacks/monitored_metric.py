"""The metric that a callback watches."""

from __future__ import annotations

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from callbacks.require import require


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


def require_validation(trainer: Trainer, callback: Callback, name: str) -> None:
    """Makes sure that a fit has validation, which is to log the metric.

    Raises:
        MisconfigurationException: If it has none.
    """
    require(
        trainer.enable_validation,
        f"{type(callback).__name__} needs a validation loop that logs {name!r}: "
        "give fit a validation dataloader and the module a validation_step",
    )
