"""A training step that takes a batch in parts, and is the step of the whole batch."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor, nn

from callbacks.known_gradients import Gradients, attach_gradients, find_gradients

Output = Tensor | Mapping[str, Any] | None


def step_in_parts(
    step: Callable[[Any], Output],
    parameters: Sequence[nn.Parameter],
    batch: Any,  # noqa: ANN401  # a batch is of any type
    size: Callable[[], int],
    make_smaller: Callable[[int, str], None],
    scale: Tensor | None = None,
) -> Output:
    """Runs a training step on a few rows of a batch after the other.

    The loss that comes back is the mean over the rows; its backward pass hands each parameter the
    gradient that was collected meanwhile, times what it is given itself. So all that a trainer does
    with a loss (dividing, scaling, accumulating, reducing) is right, and gradients of earlier
    batches are not touched. A part that does not fit into memory is taken again in smaller ones.

    Args:
        step: Gives the loss of a part as a mean over its rows: a tensor, a mapping with the key
            ``loss``, or None to leave the part out.
        parameters: What gets gradients.
        batch: Tensors, and sequences and mappings of them.
        size: Most rows of the next part.
        make_smaller: Is told how many rows did not fit, and why; makes ``size`` smaller or raises.
        scale: Of a loss scaler: small gradients of float16 do not vanish on their way.

    Returns:
        What ``step`` gave for the last part, with the loss of the whole batch.
    """
    rows, done = count_rows(batch), 0
    whole = _Whole(parameters)
    while done < rows:
        until, failed = done + even_part(rows - done, size()), ""
        part = take_rows(batch, rows, done, until)
        try:
            whole.add(step(part), (until - done) / rows, scale)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failed = str(error) or "out of memory"
        if not failed:
            done = until
            continue
        # only now does no exception hold what the part took
        empty_cache()
        make_smaller(until - done, failed)
    return whole.output(scale)


def even_part(left: int, most: int) -> int:
    """Rows of the next of as few parts as possible, without a small one at the end."""
    return math.ceil(left / math.ceil(left / most))


def count_rows(batch: Any) -> int:  # noqa: ANN401  # a batch is of any type
    """Rows of the first tensor of a batch; 0 where there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 0
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        return next((rows for value in batch if (rows := count_rows(value))), 0)
    return 0


def take_rows(batch: Any, rows: int, start: int, stop: int) -> Any:  # noqa: ANN401  # as it is
    """Some rows of all that has as many rows as the batch; what has not stays whole."""
    if (start, stop) == (0, rows):
        return batch
    if isinstance(batch, Tensor):
        return batch[start:stop] if batch.ndim and len(batch) == rows else batch
    if isinstance(batch, Mapping):
        return {key: take_rows(value, rows, start, stop) for key, value in batch.items()}
    if not isinstance(batch, (list, tuple)):
        return batch
    if len(batch) == rows and not any(count_rows(value) for value in batch):
        return batch[start:stop]
    parts = [take_rows(value, rows, start, stop) for value in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there is no memory left, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError) or is_oom_error(error):
        return True
    return "out of memory" in str(error) or "ALLOC_FAILED" in str(error)


def empty_cache() -> None:
    """Gives back what torch keeps without using it."""
    garbage_collection_cuda()
    if torch.backends.mps.is_available():
        gc.collect()
        torch.mps.empty_cache()


class _Whole:
    """What the parts of a batch gave so far."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self._gradients: Gradients = [None] * len(parameters)
        self._loss: Tensor | None = None
        self._last: Mapping[str, Any] | None = None

    def add(self, output: Output, share: float, scale: Tensor | None) -> None:
        """Adds the gradients of a part, or nothing at all if memory does not suffice."""
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if loss is None:
            return
        loss = loss * share
        found = find_gradients(loss, self._parameters, scale)
        # out of place: two parameters may have been given one and the same tensor
        self._gradients = [
            one if other is None else other if one is None else one + other
            for one, other in zip(self._gradients, found, strict=True)
        ]
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()
        self._last = output if isinstance(output, Mapping) else None

    def output(self, scale: Tensor | None) -> Output:
        """What the step gave last, with the loss of all parts."""
        if self._loss is None:
            return None
        loss = attach_gradients(self._loss, self._gradients, self._parameters, scale)
        return loss if self._last is None else {**self._last, "loss": loss}
