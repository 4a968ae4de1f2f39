"""What the gradients of a training look like."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from callbacks import json_lines
from callbacks.loss_scale import loss_scaler
from callbacks.require import require

_FEWEST = 10


class GradientMonitor(Callback):
    """Norms of gradients and sizes of updates, stage by stage.

    Runs once an optimizer step: after accumulation and the reduction over devices, before
    Lightning's clipping, on unscaled gradients also where a fused optimizer unscales inside its
    step. Every ``every_n_steps`` it takes the norm of each stage's gradient and the ratio of its
    update to its weights, which should lie near 1e-3; all of them cross from the device at once,
    and for that step the weights are copied on the device. Values go to the loggers as
    ``grad_norm/STAGE`` and ``update_ratio/STAGE``, and to ``gradients.jsonl`` with the alarms:
    ``not finite``, with the first and last such module in the order of the model (gradients flow
    backwards: the cause is near the last), ``overflow`` for the same under a loss scaler, which
    skips the step, ``vanishing`` and ``exploding``.

    With ``clip_percentile`` gradients are scaled down to that percentile of the recent norms. The
    norm then crosses from the device at every step. Lightning's own clipping comes after it.

    The order of hooks is that of Lightning's ``MixedPrecision`` (pull request 9606). Clipping by
    percentile is AutoClip, Seetharaman et al., 2020 (arXiv 2007.14469).

    Args:
        depth: How many parts of a parameter's name make its stage.
        every_n_steps: How often gradients are looked at.
        vanishing: A stage whose norm is smaller raises an alarm.
        exploding: A stage whose norm is larger raises an alarm.
        clip_percentile: Percentile in (0, 100] of recent norms to clip to; None clips nothing.
        window: Number of recent norms; infinite ones never count.
        dirpath: Folder of ``gradients.jsonl``; the trainer's log folder if None.

    Raises:
        MisconfigurationException: If an argument makes no sense.

    Example:
        >>> monitor = GradientMonitor(depth=2, every_n_steps=100, clip_percentile=90)
        >>> trainer = Trainer(callbacks=[monitor])
    """

    alarms: dict[str, int]
    _steps: dict[int, int]
    _recent: dict[int, deque[float]]
    _looks: dict[int, _Look]
    _warned: set[str]

    def __init__(
        self,
        depth: int = 1,
        every_n_steps: int = 50,
        vanishing: float = 1e-7,
        exploding: float = 1e3,
        clip_percentile: float | None = None,
        window: int = 100,
        dirpath: str | Path | None = None,
    ) -> None:
        super().__init__()
        require(depth > 0, f"depth is 1 or more, not {depth}")
        require(every_n_steps > 0, f"every_n_steps is 1 or more, not {every_n_steps}")
        require(0 <= vanishing < exploding, f"vanishing {vanishing} is not below {exploding}")
        require(
            clip_percentile is None or 0 < clip_percentile <= 100,
            f"clip_percentile lies in (0, 100], not at {clip_percentile}",
        )
        require(window >= _FEWEST, f"window is {_FEWEST} or more, not {window}")
        self.depth = depth
        self.every_n_steps = every_n_steps
        self.vanishing = vanishing
        self.exploding = exploding
        self.clip_percentile = clip_percentile
        self.window = window
        self.dirpath = dirpath
        self._resumed = False
        self._folder = Path()
        self._forget()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins anew unless a checkpoint follows."""
        if stage == "fit":
            self._resumed = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds the folder of the run."""
        # a path under a logger is broadcast, so every rank asks for it
        self._folder = Path(self.dirpath or trainer.log_dir or trainer.default_root_dir)
        self._looks = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets another training than the one that is continued."""
        if not self._resumed and trainer.current_epoch == 0:
            self._forget()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Takes norms without waiting for them, and clips."""
        number = _number(trainer, optimizer)
        # before a second step of a batch moves the weights on
        self._settle(trainer, number)
        step = self._steps.get(number, 0)
        self._steps[number] = step + 1
        due = step % self.every_n_steps == 0
        if not due and self.clip_percentile is None:
            return
        look = _look(pl_module, optimizer, number)
        if not look.names:
            return
        scale = _scale_left(trainer, optimizer)
        norms = look.norms / scale
        if due:
            # the same tensors hold other values after the step
            before = [parameter.detach().clone() for parameter in look.parameters]
            self._looks[number] = look._replace(norms=norms, before=before)
        if self.clip_percentile is not None:
            self._clip(look, float(norms.norm()), number)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        """Compares with the weights after the step, waits once, and tells."""
        for number in list(self._looks):
            self._settle(trainer, number)

    def state_dict(self) -> dict[str, Any]:
        """Counts, and the recent norms that clipping compares with."""
        return {
            "alarms": dict(self.alarms),
            "steps": dict(self._steps),
            "recent": {number: list(norms) for number, norms in self._recent.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what a checkpoint knew."""
        self._resumed = True
        self.alarms = dict(state_dict["alarms"])
        self._steps = dict(state_dict["steps"])
        recent = state_dict["recent"]
        self._recent = {n: deque(norms, self.window) for n, norms in recent.items()}

    def _forget(self) -> None:
        self.alarms = {}
        self._steps = {}
        self._recent = {}
        self._looks = {}
        self._warned = set()

    def _settle(self, trainer: Trainer, number: int) -> None:
        """Tells of an optimizer's step that was looked at."""
        if look := self._looks.pop(number, None):
            self._tell(trainer, look)

    def _clip(self, look: _Look, norm: float, number: int) -> None:
        recent = self._recent.setdefault(number, deque(maxlen=self.window))
        if not math.isfinite(norm):
            return
        recent.append(norm)
        if len(recent) < _FEWEST:
            return
        assert self.clip_percentile is not None
        ceiling = float(torch.tensor(list(recent)).quantile(self.clip_percentile / 100))
        if norm > ceiling > 0:
            torch._foreach_mul_(look.gradients, ceiling / norm)

    def _tell(self, trainer: Trainer, look: _Look) -> None:
        moved = torch._foreach_sub([p.detach() for p in look.parameters], look.before)
        sizes = [look.norms, _norms(moved), _norms(look.before)]
        gradient, update, weight = torch.stack(sizes).tolist()
        names = self._stages(look.names)
        norms = {stage: _root(gradient, rows) for stage, rows in names.items()}
        ratios = {
            stage: _root(update, rows) / size
            for stage, rows in names.items()
            if (size := _root(weight, rows)) > 0
        }
        bad = [n for n, value in zip(look.names, gradient, strict=True) if not math.isfinite(value)]
        alarms = self._alarms(norms, bad, scaled=loss_scaler(trainer) is not None)
        self._log(trainer, norms, ratios)
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        record = {
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "optimizer": look.number,
            "grad_norm": _root(gradient, range(len(gradient))),
            "stages": norms,
            "update_ratio": ratios,
            "alarms": alarms,
        }
        json_lines.append(self._folder / "gradients.jsonl", record)

    def _stages(self, names: Sequence[str]) -> dict[str, list[int]]:
        stages: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            # the last part is the parameter's own
            parts = name.split(".")[:-1] or [name]
            stages.setdefault(".".join(parts[: self.depth]), []).append(row)
        return stages

    def _alarms(
        self, norms: Mapping[str, float], bad: Sequence[str], scaled: bool
    ) -> list[dict[str, str]]:
        alarms = []
        if bad:
            kind = "overflow" if scaled else "not finite"
            first, last = (name.rpartition(".")[0] for name in (bad[0], bad[-1]))
            alarms.append({"kind": kind, "first": first, "last": last})
        for stage, norm in norms.items():
            if norm < self.vanishing:
                alarms.append({"kind": "vanishing", "first": stage, "last": stage})
            if self.exploding < norm < math.inf:
                alarms.append({"kind": "exploding", "first": stage, "last": stage})
        for alarm in alarms:
            self._alarm(**alarm)
        return alarms

    def _alarm(self, kind: str, first: str, last: str) -> None:
        self.alarms[kind] = self.alarms.get(kind, 0) + 1
        # a loss scaler finds its scale by overflows
        if kind == "overflow" or f"{kind} {first}" in self._warned:
            return
        self._warned.add(f"{kind} {first}")
        where = f"{first!r}" if first == last else f"{first!r} to {last!r}"
        rank_zero_warn(f"the gradients of {where} are {kind}")

    def _log(
        self, trainer: Trainer, norms: Mapping[str, float], ratios: Mapping[str, float]
    ) -> None:
        values = {f"grad_norm/{stage}": value for stage, value in norms.items()}
        values |= {f"update_ratio/{stage}": value for stage, value in ratios.items()}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)


class _Look(NamedTuple):
    """The gradients of one optimizer at one step."""

    number: int
    names: list[str]
    parameters: list[nn.Parameter]
    gradients: list[Tensor]
    norms: Tensor
    before: list[Tensor]


def _look(module: nn.Module, optimizer: Optimizer, number: int) -> _Look:
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    named = [
        (name, parameter, parameter.grad)
        for name, parameter in module.named_parameters()
        if id(parameter) in mine and parameter.grad is not None and not parameter.grad.is_sparse
    ]
    gradients = [gradient for _, _, gradient in named]
    return _Look(
        number,
        [name for name, _, _ in named],
        [parameter for _, parameter, _ in named],
        gradients,
        _norms(gradients),
        [],
    )


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    """One norm a tensor, in float32 since half precision overflows in the sum of squares."""
    if not tensors:
        return torch.zeros(0)
    half = (torch.float16, torch.bfloat16)
    norms = torch._foreach_norm([t.float() if t.dtype in half else t for t in tensors])
    device = norms[0].device
    return torch.stack([norm.to(device, torch.float32) for norm in norms])


def _root(values: Sequence[float], rows: Sequence[int]) -> float:
    return math.sqrt(math.fsum(values[row] ** 2 for row in rows))


def _scale_left(trainer: Trainer, optimizer: Optimizer) -> float:
    """What the gradients are still multiplied with: fused optimizers unscale inside their step."""
    scaler = loss_scaler(trainer)
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    return float(scaler.get_scale()) if scaler is not None and fused else 1.0


def _number(trainer: Trainer, optimizer: Optimizer) -> int:
    inner = getattr(optimizer, "_optimizer", optimizer)
    return next((n for n, other in enumerate(trainer.optimizers) if other is inner), 0)
