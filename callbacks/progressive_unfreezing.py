"""A model that thaws from its head towards its input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn
from torch.utils.hooks import RemovableHandle

from callbacks.monitored_metric import monitored_metric, require_validation
from callbacks.phase import Phase
from callbacks.phase_plan import PhasePlan
from callbacks.require import require


class ProgressiveUnfreezing(Callback):
    """Trains more of a model from phase to phase; all that no phase named so far is frozen.

    Frozen means both no gradients and evaluation mode, so that dropout is off and the statistics
    of batch norms stay. A phase changes nothing else: every parameter that any phase trains must
    lie in a group of the optimizer from the start (``layerwise_groups`` builds them), so that
    schedulers, resuming and rollbacks see the same groups throughout. What trains is derived from
    the phase at each epoch, not stored. Where a module is named by two phases, the later one's
    policy for batch norms holds.

    Lightning's own finetuning callbacks add groups during the fit, leave out parameters that equal
    another one in value, and do not freeze batch norms (Lightning issues 8720 and 15062, and
    issue 66073 of PyTorch on evaluation mode).

    Args:
        phases: What begins when; the first begins at epoch 0.
        monitor: Metric of validation that phases at a plateau wait for.
        mode: Whether a small or a large value is good.
        patience: Validations without improvement that make a plateau.
        min_delta: What counts as improvement.

    Raises:
        MisconfigurationException: If phases are out of order, a pattern matches nothing, a
            parameter is in no group or in two, a plateau is waited for without validation, or
            there is more than one process: ``DistributedDataParallel`` settles at the start what
            it reduces.

    Example:
        >>> phases = [
        ...     Phase(at=0, patterns=("head",)),
        ...     Phase(at=2, patterns=("encoder.blocks.[56]",), warmup_steps=50),
        ...     Phase(at="plateau", patterns=("encoder",)),
        ... ]
        >>> unfreezing = ProgressiveUnfreezing(phases, monitor="val_loss")
        >>> trainer = Trainer(callbacks=[unfreezing])
    """

    phase: int
    _ceiling: int
    _steps: int
    _best: float
    _stalled: int
    _modes: list[tuple[nn.Module, bool]]
    _new: set[int]

    def __init__(
        self,
        phases: Sequence[Phase],
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        patience: int = 2,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__()
        self.phases = tuple(phases)
        epochs = [phase.at for phase in self.phases if phase.at != "plateau"]
        require(bool(self.phases) and self.phases[0].at == 0, "the first phase begins at epoch 0")
        require(
            all(a < b for a, b in pairwise(epochs)),
            f"phases begin one after another, not at {epochs}",
        )
        require(
            monitor is not None or len(epochs) == len(self.phases),
            "a phase at a plateau needs a monitor",
        )
        require(mode in ("min", "max"), f"mode is 'min' or 'max', not {mode!r}")
        require(patience > 0, f"patience is 1 or more, not {patience}")
        self.monitor = monitor
        self.mode = mode
        self.patience = patience
        self.min_delta = min_delta
        self._plan = PhasePlan(self.phases)
        self._hooks: list[RemovableHandle] = []
        self._rates: list[tuple[dict[str, Any], Any]] = []
        self._resumed = False
        self._warned = False
        self._forget()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses several processes and patterns that match nothing."""
        if stage != "fit":
            return
        self._resumed = False
        require(
            trainer.world_size == 1,
            "ProgressiveUnfreezing runs in one process only, since DDP never reduces parameters "
            "that thaw later: use devices=1",
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks validation, names and groups, then freezes for the phase of this epoch."""
        if not self._resumed and trainer.current_epoch == 0:
            self._forget()
        if self.monitor is not None and any(phase.at == "plateau" for phase in self.phases):
            require_validation(trainer, self, self.monitor)
        self._plan.check_names(pl_module)
        self._plan.check_groups(pl_module, trainer.optimizers)
        loop = trainer.fit_loop
        # Lightning says so of an epoch that was at its end too, and begins the next one
        middle = loop.restarted_mid_epoch and not loop.epoch_loop.batch_progress.is_last_batch
        # there nothing is thawed, as in a run that was not interrupted
        if not (self._resumed and middle):
            self._advance(trainer)
        self._apply(pl_module)
        for optimizer in trainer.optimizers:
            self._hooks += [
                optimizer.register_step_pre_hook(self._before_step),
                optimizer.register_step_post_hook(self._after_step),
            ]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins a phase that is due, and freezes again in any case."""
        self._advance(trainer)
        self._apply(pl_module)

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        """Freezes again what the module's own code has put into training mode."""
        if all(module.training == mode for module, mode in self._modes):
            return
        if not self._warned:
            rank_zero_warn(
                "frozen modules were put into training mode, by a call of train() in the module: "
                "they are in evaluation mode again"
            )
        self._warned = True
        self._apply(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts validations without improvement."""
        if self.monitor is None or trainer.sanity_checking:
            return
        if trainer.state.fn != TrainerFn.FITTING:
            return
        value = monitored_metric(trainer, self, self.monitor)
        score = float(value) if self.mode == "min" else -float(value)
        if math.isfinite(score) and score < self._best - self.min_delta:
            self._best, self._stalled = score, 0
        else:
            self._stalled += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the phase."""
        pl_module.log("unfreezing/phase", float(self.phase))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets go of the optimizers."""
        self._release()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Lets go of the optimizers."""
        self._release()

    def refreeze(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes back one phase for the rest of the run; the first one stays."""
        self._ceiling = max(0, self.phase - 1)
        self.phase = min(self.phase, self._ceiling)
        self._stalled = 0
        self._apply(pl_module)

    def thaw(self, copy: nn.Module) -> None:
        """Puts a copy of the module into the last phase, in which training takes most memory."""
        self._plan.freeze(copy, self._ceiling)

    def state_dict(self) -> dict[str, Any]:
        """The phase, and what decides on the next one."""
        return {
            "phase": self.phase,
            "ceiling": self._ceiling,
            "steps": self._steps,
            "best": self._best,
            "stalled": self._stalled,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what a checkpoint knew."""
        self._resumed = True
        self.phase = state_dict["phase"]
        self._ceiling = state_dict["ceiling"]
        self._steps = state_dict["steps"]
        self._best = state_dict["best"]
        self._stalled = state_dict["stalled"]

    def _forget(self) -> None:
        self.phase = 0
        self._ceiling = len(self.phases) - 1
        self._steps = 0
        self._best = math.inf
        self._stalled = 0
        self._modes = []
        self._new = set()

    def _advance(self, trainer: Trainer) -> None:
        due = max(
            (n for n, phase in enumerate(self.phases) if _begun(phase, trainer.current_epoch)),
            default=0,
        )
        following = self.phase + 1
        stalled = self._stalled >= self.patience
        if stalled and following <= self._ceiling and self.phases[following].at == "plateau":
            due = max(due, following)
        due = min(due, self._ceiling)
        if due <= self.phase:
            return
        self.phase, self._steps, self._stalled = due, 0, 0
        rank_zero_info(f"ProgressiveUnfreezing: phase {due} trains {self.phases[due].patterns}")

    def _apply(self, root: nn.Module) -> None:
        """Derives gradients and modes from the phase."""
        self._new = self._plan.new(root, self.phase)
        self._modes = self._plan.freeze(root, self.phase)

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        warmup = self.phases[self.phase].warmup_steps
        if self._steps >= warmup or not self._trains_new(optimizer):
            return
        factor = (self._steps + 1) / (warmup + 1)
        for group in optimizer.param_groups:
            if any(id(parameter) in self._new for parameter in group["params"]):
                self._rates.append((group, group["lr"]))
                group["lr"] = group["lr"] * factor

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self._restore_rates()
        self._steps += self._trains_new(optimizer)

    def _trains_new(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether it has parameters of this phase: of several optimizers those alone count."""
        groups = optimizer.param_groups
        return any(id(parameter) in self._new for group in groups for parameter in group["params"])

    def _restore_rates(self) -> None:
        # schedulers and checkpoints never see the lowered rate
        for group, rate in self._rates:
            group["lr"] = rate
        self._rates = []

    def _release(self) -> None:
        self._restore_rates()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _begun(phase: Phase, epoch: int) -> bool:
    return phase.at != "plateau" and epoch >= phase.at
