"""A module's forward in fp16 beside the same in fp32."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from callbacks.memory_probe import least_rows
from callbacks.step_in_parts import count_rows, empty_cache, is_out_of_memory, take_rows


def compare_precisions(
    module: LightningModule, batch: object, plugin: MixedPrecision, tolerance: float
) -> str | None:
    """Runs a module in fp32 and in fp16, and says what is wrong with fp16.

    Weights, buffers and random numbers are as before.

    Args:
        module: Its ``example_input_array`` is run; without one the batch's first part, or where
            the batch is a mapping what it has under the name of forward's first parameter.
        batch: On the device.
        plugin: Gives autocast.
        tolerance: Largest relative distance between the outputs.

    Returns:
        A sentence, empty if fp16 is sound; None where not even fp32 gives finite outputs.
    """
    inputs = _inputs(module, batch)
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    try:
        exact, half = _both(module, inputs, plugin)
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        return _unchecked(error)
    finally:
        with torch.no_grad():
            for name, value in module.named_buffers():
                value.copy_(buffers[name])
    # masks of -inf are not finite by design
    finite = exact.isfinite()
    if not finite.any():
        return None
    exact, half = exact[finite], half[finite]
    if not half.isfinite().all():
        return "forward is not finite in fp16, and is in fp32"
    distance = float((half - exact).norm() / exact.norm().clamp_min(1e-12))
    if distance > tolerance:
        return f"forward in fp16 is {distance:.3g} away from fp32, {tolerance:g} may be"
    return ""


def _both(
    module: LightningModule, inputs: tuple[Any, ...], plugin: MixedPrecision
) -> tuple[Tensor, Tensor]:
    """Outputs in fp32 and in fp16; of half of the rows, again and again, if memory runs out."""
    rows = most = count_rows(inputs)
    while True:
        part = take_rows(inputs, rows, 0, most)
        try:
            exact = _outputs(module, part, torch.autocast(plugin.device, enabled=False))
            return exact, _outputs(module, part, plugin.autocast_context_manager())
        except RuntimeError as error:
            if not is_out_of_memory(error) or most // 2 < least_rows(module):
                raise
        # only now does no exception hold what the rows took
        most //= 2
        empty_cache()


def _unchecked(error: BaseException) -> str:
    """Why there is no check, and what makes one possible."""
    why = next(iter(str(error).splitlines()), type(error).__name__)
    if is_out_of_memory(error):
        return (
            f"fp16 could not be checked, as not even its fewest rows fit into memory ({why}): free "
            "memory that others use, or give smaller inputs"
        )
    return (
        f"fp16 could not be checked, as forward failed ({why}): give the module an "
        "example_input_array"
    )


def _outputs(
    module: LightningModule, inputs: tuple[Any, ...], context: AbstractContextManager[Any]
) -> Tensor:
    """All floating-point outputs in a row, with the same random numbers each time."""
    devices = [module.device] if module.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad(), context:
        torch.manual_seed(0)
        output = module(*inputs)
    found = [t.detach().flatten().double().cpu() for t in _tensors(output) if t.is_floating_point()]
    return torch.cat(found) if found else torch.zeros(1)


def _inputs(module: LightningModule, batch: object) -> tuple[Any, ...]:
    example = module.example_input_array
    if example is not None:
        example = module._on_before_batch_transfer(example)
        example = module.transfer_batch_to_device(example, module.device, 0)
        return example if isinstance(example, tuple) else (example,)
    if isinstance(batch, Mapping):
        # by custom forward takes what the batch has under the name of its first parameter
        name = next(iter(inspect.signature(module.forward).parameters), "")
        return (batch.get(name, batch),)
    # by custom a batch is the input, or the input and what belongs to it
    return (batch[0],) if isinstance(batch, (tuple, list)) else (batch,)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
