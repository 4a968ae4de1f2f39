"""Validation steps that take their batch in parts where it does not fit into memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils._pytree import tree_map

from callbacks.counting_rows import counting_rows
from callbacks.gpu_memory import say_memory
from callbacks.memory_probe import MemoryProbe, require_room_for_a_copy
from callbacks.require import require
from callbacks.step_in_parts import count_rows, even_part, take_rows


class ValidationInParts:
    """Knows how many rows of validation fit, before a step is taken on them.

    A step that ran out of memory may have updated metrics and cannot be taken again. So rows that
    fit are found on a copy of the module: at the first batch, at a larger one, and once more when
    the optimizer has states.

    Args:
        budget: Bytes that a step may take; None measures nothing.

    Attributes:
        rows_at_once: Most rows at once; None for whole batches.
    """

    def __init__(self, budget: int | None) -> None:
        self.rows_at_once: int | None = None
        self._budget = budget
        self._known = (0, False)

    def step(
        self,
        trainer: Trainer,
        module: LightningModule,
        step: Callable[..., Any],
        batch: Any,  # noqa: ANN401  # a batch is of any type
        others: tuple[Any, ...],
    ) -> Any:  # noqa: ANN401  # what the step gives
        """Takes a step of validation.

        Raises:
            MisconfigurationException: If not even one row fits into the budget.
        """
        rows = count_rows(batch)
        now = (rows, any(optimizer.state for optimizer in trainer.optimizers))
        if self._budget is not None and rows and now > self._known:
            self._known = now
            self._measure(MemoryProbe(trainer, module, batch, others), rows, self._budget)
        if not rows or rows <= (self.rows_at_once or rows):
            return step(batch, *others)
        assert self.rows_at_once is not None
        return evaluate_in_parts(module, lambda part: step(part, *others), batch, self.rows_at_once)

    def _measure(self, probe: MemoryProbe, rows: int, budget: int) -> None:
        try:
            size, peak = probe.largest_evaluation(budget)
        # what a module does when it is copied, nobody knows
        except Exception as error:
            if self.rows_at_once is None:
                require_room_for_a_copy(error, budget)
            rank_zero_warn(f"memory of validation could not be measured ({error})")
            return
        needs = "more than there is" if peak is None else say_memory(peak)
        require(
            size > 0,
            f"a validation step on 1 of {rows} rows takes {needs}, {say_memory(budget)} are "
            "allowed: allow more, or give smaller inputs",
        )
        self.rows_at_once = size
        if size < rows:
            rank_zero_info(f"MemoryBudget: validation takes {size} of {rows} rows at once")


def evaluate_in_parts(
    module: LightningModule,
    step: Callable[[Any], Any],
    batch: Any,  # noqa: ANN401  # a batch is of any type
    size: int,
) -> Any:  # noqa: ANN401  # what the step gives
    """Runs a validation step on a few rows of a batch after the other, each row once.

    A mean that the step logs counts as many rows as its part has. So all is as with the whole batch
    where the step logs means over rows, and updates metrics.

    Args:
        module: Whose step it is.
        step: Takes a part of the batch.
        batch: Tensors, and sequences and mappings of them.
        size: Most rows of a part.

    Returns:
        What the step gives for the whole batch: tensors with a value a row in one piece, other
        floating-point tensors as their mean over rows, and what the last part gave of all else.
    """
    rows, done = count_rows(batch), 0
    outputs: list[Any] = []
    counts: list[int] = []
    while done < rows:
        until = done + even_part(rows - done, size)
        with counting_rows(module, until - done):
            outputs.append(step(take_rows(batch, rows, done, until)))
        counts.append(until - done)
        done = until
    return tree_map(functools.partial(_of_all, counts), *outputs)


def _of_all(counts: list[int], *values: Any) -> Any:  # noqa: ANN401  # what parts gave
    if not all(isinstance(value, Tensor) for value in values):
        return values[-1]
    if [len(value) if value.ndim else 0 for value in values] == counts:
        return torch.cat(values)
    if not values[0].is_floating_point():
        return values[-1]
    return sum(value * count for value, count in zip(values, counts, strict=True)) / sum(counts)
