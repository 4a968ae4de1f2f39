"""The state of a training as a copy in RAM: taken, restored, with smaller learning rates, saved."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import __version__
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging

from callbacks.among_callbacks import among_callbacks

Snapshot = dict[str, Any]

_GROUP_RATES = ("lr", "initial_lr", "max_lr", "min_lr")
_SCHEDULER_RATES = ("base_lrs", "max_lrs", "_last_lr")


def take(trainer: Trainer) -> Snapshot:
    """Copies model, optimizers, schedulers and precision plugin to the CPU.

    The keys are those of a Lightning checkpoint, without loops and callbacks.
    """
    module, precision = trainer.lightning_module, trainer.precision_plugin
    state: Snapshot = {
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "pytorch-lightning_version": __version__,
        "state_dict": trainer.strategy.lightning_module_state_dict(),
        "optimizer_states": [trainer.strategy.optimizer_state(o) for o in trainer.optimizers],
        "lr_schedulers": [c.scheduler.state_dict() for c in trainer.lr_scheduler_configs],
    }
    if scaling := precision.state_dict():
        state[type(precision).__qualname__] = scaling
    # an average of the weights lives in its callback, not in the module
    for average in among_callbacks(trainer, WeightAveraging):
        average.on_save_checkpoint(trainer, module, state)
    # through bytes: an independent copy that keeps types and shared storages, without a second
    # copy on the accelerator
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    taken: Snapshot = torch.load(buffer, map_location="cpu", weights_only=False)
    return taken


def restore(trainer: Trainer, snapshot: Snapshot) -> None:
    """Puts a snapshot into the running training; loops and callbacks are not rewound."""
    module, precision = trainer.lightning_module, trainer.precision_plugin
    trainer.strategy.load_model_state_dict(snapshot, strict=module.strict_loading)
    for average in among_callbacks(trainer, WeightAveraging):
        average.on_load_checkpoint(trainer, module, snapshot)
    # an optimizer takes tensors of its own kind as they are, and would write into the snapshot
    states = copy.deepcopy({name: snapshot[name] for name in ("optimizer_states", "lr_schedulers")})
    trainer.strategy.load_optimizer_state_dict(states)
    for config, state in zip(trainer.lr_scheduler_configs, states["lr_schedulers"], strict=True):
        config.scheduler.load_state_dict(state)
    if scaling := snapshot.get(type(precision).__qualname__):
        precision.load_state_dict(scaling)
    for optimizer in trainer.optimizers:
        optimizer.zero_grad()


def restore_scored_weights(trainer: Trainer, snapshot: Snapshot) -> None:
    """Loads the weights that were validated: under averaging those are the average."""
    trainer.strategy.load_model_state_dict(snapshot, strict=trainer.lightning_module.strict_loading)


def shrunk(snapshot: Snapshot, factor: float) -> Snapshot:
    """The same snapshot with all its learning rates multiplied.

    Closed-form schedules compute from ``base_lrs`` and ``initial_lr``, so those shrink too.
    """
    return {
        **snapshot,
        "optimizer_states": [
            {
                **state,
                "param_groups": [
                    _scaled(group, _GROUP_RATES, factor) for group in state["param_groups"]
                ],
            }
            for state in snapshot["optimizer_states"]
        ],
        "lr_schedulers": [_scaled_scheduler(s, factor) for s in snapshot["lr_schedulers"]],
    }


def with_new_groups(snapshot: Snapshot, trainer: Trainer) -> Snapshot:
    """Adds the parameter groups that an optimizer got after the snapshot was taken."""
    states = []
    for optimizer, old in zip(trainer.optimizers, snapshot["optimizer_states"], strict=True):
        now = trainer.strategy.optimizer_state(optimizer)["param_groups"]
        groups = old["param_groups"]
        states.append({**old, "param_groups": [*groups, *now[len(groups) :]]})
    return {**snapshot, "optimizer_states": states}


def sharing(snapshot: Snapshot, checkpoint: Mapping[str, Any]) -> Snapshot:
    """The same snapshot with a checkpoint's own tensors where they are equal: a file has them once.

    What it is loaded into must be a copy, or training would change the snapshot too.
    """
    shared: Snapshot = _sharing(snapshot, checkpoint)
    return shared


def save(snapshot: Snapshot, path: Path) -> None:
    """Writes a snapshot so that the file is whole at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    buffer = io.BytesIO()
    torch.save(snapshot, buffer)
    temporary.write_bytes(buffer.getbuffer())
    temporary.replace(path)


def not_finite(module: LightningModule) -> set[str]:
    """Names of the parameters and saved buffers with a NaN or an infinity, in one device sync."""
    state = {
        name: value
        for name, value in module.state_dict().items()
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel()
    }
    if not state:
        return set()
    device = next(iter(state.values())).device
    flags = torch.stack([value.isfinite().all().to(device) for value in state.values()])
    return {name for name, finite in zip(state, flags.tolist(), strict=True) if not finite}


def _sharing(ours: Any, theirs: Any) -> Any:  # noqa: ANN401  # two nested states
    if isinstance(ours, torch.Tensor):
        return theirs if _equal(ours, theirs) else ours
    if isinstance(ours, dict) and isinstance(theirs, Mapping):
        # a copy keeps what a state_dict says of its versions
        shared = copy.copy(ours)
        shared.update((key, _sharing(value, theirs.get(key))) for key, value in ours.items())
        return shared
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [_sharing(*pair) for pair in zip(ours, theirs, strict=True)]
    return ours


def _equal(ours: torch.Tensor, theirs: object) -> bool:
    return (
        isinstance(theirs, torch.Tensor)
        and (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        and torch.equal(ours, theirs.to(ours.device))
    )


def _scaled(state: Mapping[str, Any], keys: tuple[str, ...], factor: float) -> dict[str, Any]:
    return {key: _times(value, factor) if key in keys else value for key, value in state.items()}


def _scaled_scheduler(state: Mapping[str, Any], factor: float) -> dict[str, Any]:
    scaled = _scaled(state, _SCHEDULER_RATES, factor)
    # SequentialLR and ChainedScheduler hold the states of others
    if "_schedulers" in scaled:
        scaled["_schedulers"] = [_scaled_scheduler(s, factor) for s in scaled["_schedulers"]]
    return scaled


def _times(value: Any, factor: float) -> Any:  # noqa: ANN401  # a number, a tensor or a list of them
    if isinstance(value, list | tuple):
        return [_times(item, factor) for item in value]
    return value * factor
