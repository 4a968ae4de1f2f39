"""Steps on a copy of a module, to see what memory they take."""

from __future__ import annotations

import copy
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from callbacks.among_callbacks import among_callbacks
from callbacks.gpu_memory import say_memory
from callbacks.loss_scale import loss_scale
from callbacks.progressive_unfreezing import ProgressiveUnfreezing
from callbacks.require import require
from callbacks.step_in_parts import (
    count_rows,
    empty_cache,
    is_out_of_memory,
    step_in_parts,
    take_rows,
)
from callbacks.step_memory import StepMemory


class MemoryProbe:
    """Measures whole training steps, optimizer included, or validation steps, on rows of a batch.

    All that is run is a copy: weights, statistics of batch norms, metrics, optimizer states and
    random numbers are as before. Where a ``ProgressiveUnfreezing`` is at work, the copy trains all
    that its last phase trains, which takes most. The copy's own room is not counted.

    Args:
        trainer: With its optimizer.
        module: What is trained.
        batch: A batch on the device.
        others: What steps get after the batch.
    """

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        batch: Any,  # noqa: ANN401  # a batch is of any type
        others: tuple[Any, ...],
    ) -> None:
        self._trainer = trainer
        self._module = module
        self._batch = batch
        self._others = others
        self._rows = count_rows(batch)

    def largest_part(self, most: int, checkpointing: bool) -> tuple[int, int | None]:
        """Tries 1, 2, 4 … rows at once, up to the whole batch; not 1 where batch norms train.

        Args:
            most: Bytes that a step may take.
            checkpointing: Whether the copy keeps fewer activations and computes them again.

        Returns:
            The most rows that fit, or 0; and the bytes that they take, or that one row takes where
            it does not fit; None where not even the device had as much.
        """
        with self._watched() as memory:
            trial = _Trial(self._trainer, self._module, self._others, checkpointing)
            return self._largest(most, trial, memory)

    def largest_evaluation(self, most: int) -> tuple[int, int | None]:
        """Tries a validation step on the whole batch, on half of it, and so on.

        Args:
            most: Bytes that a step may take.

        Returns:
            As of :meth:`largest_part`.
        """
        with self._watched() as memory:
            twin = _silent_copy(self._trainer, self._module)
            spare = _size(_weights(self._module))
            rows = self._rows
            while True:
                part = take_rows(self._batch, self._rows, 0, rows)
                step = functools.partial(twin.validation_step, part, *self._others)
                peak = _peak(step, memory, spare)
                if peak is not None and peak <= most:
                    return rows, peak
                if rows == 1:
                    return 0, peak
                rows //= 2

    @contextmanager
    def _watched(self) -> Iterator[StepMemory]:
        """Counts what is there already, and leaves nothing behind."""
        try:
            with isolate_rng(), StepMemory(self._module.device) as memory:
                memory.include([*_state(self._module, self._trainer), *_tensors(self._batch)])
                yield memory
        finally:
            empty_cache()
            StepMemory(self._module.device).reset()

    def _largest(self, most: int, trial: _Trial, memory: StepMemory) -> tuple[int, int | None]:
        spare = _size(_state(self._module, self._trainer))
        best: tuple[int, int | None] = (0, None)
        for size in self._sizes():
            # two parts
            batch = take_rows(self._batch, self._rows, 0, min(self._rows, 2 * size))
            peak = _peak(functools.partial(trial.step, batch, size), memory, spare)
            if peak is None or peak > most:
                return best if best[0] else (0, peak)
            best = (size, peak)
        return best

    def _sizes(self) -> Iterator[int]:
        size = least_rows(self._module)
        while size < self._rows:
            yield size
            size *= 2
        yield self._rows


def least_rows(module: nn.Module) -> int:
    """Rows that a part needs: 2 where a batch norm is in training mode, else 1."""
    trains = any(isinstance(part, _BatchNorm) and part.training for part in module.modules())
    return 2 if trains else 1


def require_room_for_a_copy(error: Exception, budget: int) -> None:
    """Refuses where not even the copy that steps are measured on has room.

    Raises:
        MisconfigurationException: If memory ran out before a step was taken.
    """
    require(
        not is_out_of_memory(error),
        f"there is no room within {say_memory(budget)} for a copy of the module, on which steps "
        "are measured: allow more, or free memory that others use",
    )


class _Trial:
    """A copy of a module and of its optimizer."""

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        others: tuple[Any, ...],
        checkpointing: bool,
    ) -> None:
        self._copy = _silent_copy(trainer, module)
        self._others = others
        for unfreezing in among_callbacks(trainer, ProgressiveUnfreezing):
            unfreezing.thaw(self._copy)
        if checkpointing:
            own_way: Any = self._copy
            own_way.set_grad_checkpointing(True)
        names = {id(value): name for name, value in module.named_parameters()}
        mine = dict(self._copy.named_parameters())
        places = {number: mine[name] for number, name in names.items()}
        self._optimizers = [_without_states(o, places) for o in trainer.optimizers]
        self._parameters = [p for p in self._copy.parameters() if p.requires_grad]
        self._scale = loss_scale(trainer, module.device)

    def step(self, batch: Any, size: int) -> None:  # noqa: ANN401  # a batch is of any type
        if not any(optimizer.state for optimizer in self._optimizers):
            # the step that makes the optimizer's states is not the one that takes most
            self._step(batch, size)
        self._step(batch, size)

    def _step(self, batch: Any, size: int) -> None:  # noqa: ANN401  # a batch is of any type
        output = step_in_parts(
            lambda part: self._copy.training_step(part, *self._others),
            self._parameters,
            batch,
            lambda: size,
            _give_up,
            self._scale,
        )
        loss = output if isinstance(output, Tensor) or output is None else output["loss"]
        if loss is None:
            return
        loss.backward()
        for optimizer in self._optimizers:
            optimizer.step()


def _without_states(optimizer: Optimizer, places: dict[int, Any]) -> Optimizer:
    """A copy of an optimizer for other parameters, without its states and hooks."""
    other = copy.copy(optimizer)
    other.state = defaultdict(dict)
    other.param_groups = [
        {**group, "params": [places[id(p)] for p in group["params"] if id(p) in places]}
        for group in optimizer.param_groups
    ]
    return other


def _silent_copy(trainer: Trainer, module: LightningModule) -> LightningModule:
    """A copy that logs nothing, with the module's own steps."""
    twin = copy.deepcopy(module)
    # copies of Lightning's modules belong to no trainer
    twin.trainer = trainer
    own = vars(twin)
    for name in ("training_step", "validation_step"):
        own.pop(name, None)
    own["log"] = own["log_dict"] = _silence
    return twin


def _peak(step: Callable[[], object], memory: StepMemory, spare: int) -> int | None:
    """Most bytes in a step, less what is spare; None where the device has not as many."""
    memory.reset()
    try:
        step()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    return memory.peak - spare


def _state(module: LightningModule, trainer: Trainer) -> list[Tensor]:
    """Weights, buffers and the optimizer's states."""
    states = [optimizer.state for optimizer in trainer.optimizers]
    return [*_weights(module), *_tensors([dict(state) for state in states])]


def _weights(module: LightningModule) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _size(tensors: list[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _tensors(tree: Any) -> list[Tensor]:  # noqa: ANN401  # of any type
    return [value for value in tree_leaves(tree) if isinstance(value, Tensor)]


def _silence(*_: object, **__: object) -> None:
    """A trial logs nothing."""


def _give_up(rows: int, reason: str) -> None:
    raise RuntimeError(f"{rows} rows do not fit: out of memory ({reason})")
