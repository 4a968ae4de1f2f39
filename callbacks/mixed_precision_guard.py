"""fp16 that is checked instead of trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from callbacks.compare_precisions import compare_precisions
from callbacks.require import require


class MixedPrecisionGuard(Callback):
    """Checks that fp16 works here, and leaves it where it does not.

    Before the first step the module's own forward runs in fp16 and in fp32, on its
    ``example_input_array`` or the first training batch: its first part, or where it is a mapping
    what it has under the name of forward's first parameter. Where memory runs out it takes half of
    the rows, again and again. Some cards (GTX 16xx, Quadro T) answer with NaN, and some models
    overflow. Outputs that are not finite, or far from those of fp32, end fp16 before anything is
    trained, and so does a check that is not possible: where forward fails, or where not even the
    fewest rows fit into memory, fp16 is not trusted. Later the loss scale and the skipped steps are
    watched: a few overflows at the start are how a scaler finds its scale; many, or a scale below
    1, end fp16 at the next epoch. ``reason`` says why in one line; ``amp/scale`` and
    ``amp/skipped`` are logged each epoch. Without ``16-mixed`` the callback does nothing.

    Weights, buffers and random numbers are as before after the check. A resumed run is checked
    anew: it may be on another machine. On the CPU, where bf16 is slow more often than not, the
    fallback is fp32 unless it is named.

    Behaviour of the scaler is as documented for ``torch.amp.GradScaler``: a step with non-finite
    gradients is skipped, and the scale shrinks. For the cards see ultralytics pull request 17977.

    Args:
        tolerance: Largest relative distance between the outputs in fp16 and fp32.
        max_skipped: Largest share of skipped steps in an epoch.
        warmup_steps: Steps at the start of the fit in which skipped ones do not count.
        fallback: What fp16 gives way to; ``"auto"`` is bf16 where the accelerator has it.

    Raises:
        MisconfigurationException: If an argument makes no sense.

    Example:
        >>> trainer = Trainer(precision="16-mixed", callbacks=[MixedPrecisionGuard()])
        >>> trainer.fit(module, data)  # doctest: +SKIP
    """

    reason: str | None
    _checked: bool
    _scale: float | None

    def __init__(
        self,
        tolerance: float = 0.05,
        max_skipped: float = 0.1,
        warmup_steps: int = 20,
        fallback: Literal["auto", "32-true", "bf16-mixed"] = "auto",
    ) -> None:
        super().__init__()
        require(0 < tolerance < math.inf, f"tolerance is above 0, not {tolerance}")
        require(0 <= max_skipped <= 1, f"max_skipped lies in [0, 1], not at {max_skipped}")
        require(warmup_steps >= 0, f"warmup_steps is 0 or more, not {warmup_steps}")
        require(
            fallback in ("auto", "32-true", "bf16-mixed"),
            f"fallback is 'auto', '32-true' or 'bf16-mixed', not {fallback!r}",
        )
        self.tolerance = tolerance
        self.max_skipped = max_skipped
        self.warmup_steps = warmup_steps
        self.fallback = fallback
        self._resumed = False
        self._forget()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins a run anew unless a checkpoint follows."""
        if stage == "fit":
            self._resumed = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves fp16 at once where the resumed run had left it."""
        if not self._resumed and trainer.current_epoch == 0:
            self._forget()
        if self.reason is not None:
            self._fall_back(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves fp16 if the last epoch has shown it to be unusable."""
        if self.reason is not None:
            self._fall_back(trainer)
        self._epoch_steps = self._epoch_skipped = 0

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        """Checks the forward before the first step."""
        plugin = _fp16(trainer)
        if self._checked or plugin is None:
            return
        fault = compare_precisions(pl_module, batch, plugin, self.tolerance)
        all_ranks = trainer.strategy.reduce_boolean_decision
        # a batch that is broken itself, say of NaN, tells nothing: the next one does
        self._checked = all_ranks(fault is not None)
        if all_ranks(bool(fault), all=False):
            self.reason = fault or "the self-check of fp16 failed on another rank"
            self._fall_back(trainer)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Takes down the scale before the step."""
        if scaler := _scaler(trainer):
            self._scale = float(scaler.get_scale())

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        """Counts the steps that the scaler skipped: those after which the scale is smaller."""
        scaler = _scaler(trainer)
        before, self._scale = self._scale, None
        if scaler is None or before is None:
            return
        # the scaler itself waits for the device at every step, so this costs nothing more
        skipped = float(scaler.get_scale()) < before
        self.steps += 1
        self.skipped += skipped
        if self.steps > self.warmup_steps:
            self._epoch_steps += 1
            self._epoch_skipped += skipped

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs, and judges the epoch."""
        scaler = _scaler(trainer)
        if scaler is None:
            return
        scale = float(scaler.get_scale())
        pl_module.log("amp/scale", scale)
        pl_module.log("amp/skipped", float(self.skipped))
        if self.reason is not None:
            return
        if scale < 1:
            self.reason = f"the loss scale fell to {scale:g}: gradients overflow fp16 at any scale"
        elif self._epoch_skipped > self.max_skipped * self._epoch_steps:
            self.reason = (
                f"{self._epoch_skipped} of {self._epoch_steps} steps were skipped in epoch "
                f"{trainer.current_epoch}: gradients overflow fp16"
            )

    def state_dict(self) -> dict[str, Any]:
        """Counts, and whether fp16 was left."""
        return {
            "reason": self.reason,
            "steps": self.steps,
            "skipped": self.skipped,
            "epoch_steps": self._epoch_steps,
            "epoch_skipped": self._epoch_skipped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what a checkpoint knew."""
        self._resumed = True
        self.reason = state_dict["reason"]
        self.steps = state_dict["steps"]
        self.skipped = state_dict["skipped"]
        self._epoch_steps = state_dict["epoch_steps"]
        self._epoch_skipped = state_dict["epoch_skipped"]

    def _forget(self) -> None:
        self.reason = None
        self.steps = self.skipped = 0
        self._epoch_steps = self._epoch_skipped = 0
        self._checked = False
        self._scale = None

    def _fall_back(self, trainer: Trainer) -> None:
        plugin = _fp16(trainer)
        if plugin is None:
            return
        other = self._replacement(plugin)
        trainer.strategy.precision_plugin = other
        name = "bf16-mixed" if isinstance(other, MixedPrecision) else "32-true"
        rank_zero_warn(f"from 16-mixed to {name}: {self.reason}")

    def _replacement(self, plugin: MixedPrecision) -> Precision:
        cuda = plugin.device == "cuda"
        native = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        if self.fallback == "bf16-mixed" or (self.fallback == "auto" and native):
            return MixedPrecision("bf16-mixed", plugin.device)
        return Precision()


def _fp16(trainer: Trainer) -> MixedPrecision | None:
    plugin = trainer.precision_plugin
    return plugin if isinstance(plugin, MixedPrecision) and plugin.scaler is not None else None


def _scaler(trainer: Trainer) -> torch.amp.GradScaler | None:
    plugin = _fp16(trainer)
    return plugin.scaler if plugin is not None else None
