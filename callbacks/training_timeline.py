"""One page of TensorBoard on which a fine-tuning can be followed."""

from __future__ import annotations

import re
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from callbacks.among_callbacks import among_callbacks
from callbacks.gradient_monitor import GradientMonitor
from callbacks.loss_scale import loss_scaler
from callbacks.metric_rollback import MetricRollback
from callbacks.mixed_precision_guard import MixedPrecisionGuard
from callbacks.progressive_unfreezing import ProgressiveUnfreezing
from callbacks.require import require

Charts = dict[str, list[str]]


class TrainingTimeline(Callback):
    """Lays out TensorBoard's tab *Custom scalars*, and logs the learning rates of every step.

    The charts stand one below the other over the same steps: what is monitored, the losses, the
    learning rates, and what the other callbacks log: the phase of ``ProgressiveUnfreezing``, the
    rollbacks of ``MetricRollback``, the norms and update ratios of ``GradientMonitor``, and in fp16
    the loss scale of ``MixedPrecisionGuard``. A chart without its callback is left out.

    A rate is logged as ``lr/<group>`` under the name of its group, or its number, as the optimizer
    uses it: after schedulers, rollbacks and the warm-up of a phase. Groups that are frozen have
    none. Other loggers than TensorBoard's get the rates too. The layout is that of
    ``SummaryWriter.add_custom_scalars``.

    Args:
        title: Heading above the charts; runs with the same title share them.
        every_n_steps: How often an optimizer's rates are logged, in steps of its own; the
            trainer's ``log_every_n_steps`` if None.

    Raises:
        MisconfigurationException: If an argument makes no sense.

    Example:
        >>> trainer = Trainer(callbacks=[MetricRollback("val_loss"), TrainingTimeline()])
        >>> trainer.fit(module, train, val)  # doctest: +SKIP
    """

    def __init__(self, title: str = "fine-tuning", every_n_steps: int | None = None) -> None:
        super().__init__()
        require(bool(title), "the title is empty")
        require(every_n_steps is None or every_n_steps > 0, f"every_n_steps is not {every_n_steps}")
        self.title = title
        self.every_n_steps = every_n_steps
        self._steps: dict[int, int] = {}
        self._hooks: list[RemovableHandle] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins to count anew unless a checkpoint follows."""
        self._steps = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the layout."""
        layout = {self.title: {name: ["Multiline", t] for name, t in _charts(trainer).items()}}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                logger.experiment.add_custom_scalars(layout)

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        """Looks at the optimizers from now on, after all that may change their rates."""
        if self._hooks:
            return

        def look(optimizer: Optimizer, *_: object) -> None:
            self._log_rates(trainer, optimizer)

        self._hooks = [each.register_step_pre_hook(look) for each in trainer.optimizers]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets go of the optimizers."""
        self._release()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Lets go of the optimizers."""
        self._release()

    def state_dict(self) -> dict[str, Any]:
        """How many steps each optimizer took."""
        return {"steps": dict(self._steps)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what a checkpoint knew."""
        self._steps = dict(state_dict["steps"])

    def _log_rates(self, trainer: Trainer, optimizer: Optimizer) -> None:
        # Lightning sets it without declaring it
        every: int = self.every_n_steps or getattr(trainer, "log_every_n_steps", 1) or 1
        number = trainer.optimizers.index(optimizer)
        step = self._steps.get(number, 0)
        self._steps[number] = step + 1
        if step % every:
            return
        prefix = f"lr/{number}." if len(trainer.optimizers) > 1 else "lr/"
        rates = {
            f"{prefix}{group.get('name', place)}": float(group["lr"])
            for place, group in enumerate(optimizer.param_groups)
            if any(parameter.requires_grad for parameter in group["params"])
        }
        for logger in trainer.loggers:
            logger.log_metrics(rates, step=trainer.global_step)

    def _release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _charts(trainer: Trainer) -> Charts:
    """Regular expressions of tags by chart; TensorBoard matches them from the beginning."""
    monitored = sorted({name for each in _callbacks(trainer) if (name := _monitor(each))})
    charts = {
        **({"what is monitored": [_exactly(name) for name in monitored]} if monitored else {}),
        "loss": [r".*loss[^/]*$"],
        "learning rate": [r"lr/"],
    }
    if among_callbacks(trainer, ProgressiveUnfreezing):
        charts["phase"] = [_exactly("unfreezing/phase")]
    if among_callbacks(trainer, MetricRollback):
        charts["rollbacks"] = [_exactly("rollback/count")]
    if among_callbacks(trainer, GradientMonitor):
        charts |= {"gradient norm": [r"grad_norm/"], "update to weight": [r"update_ratio/"]}
    if among_callbacks(trainer, MixedPrecisionGuard) and loss_scaler(trainer):
        charts |= {"loss scale": [_exactly("amp/scale")], "skipped": [_exactly("amp/skipped")]}
    return charts


def _callbacks(trainer: Trainer) -> list[Callback]:
    return among_callbacks(trainer, Callback)


def _monitor(callback: Callback) -> str | None:
    name = getattr(callback, "monitor", None)
    return name if isinstance(name, str) else None


def _exactly(tag: str) -> str:
    return f"{re.escape(tag)}$"
