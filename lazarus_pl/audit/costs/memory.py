"""Memory that steps take, measured on whatever machine this is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

MB = 1e6
FLOAT_BYTES = 4

# what the CUDA context, its libraries and cuDNN's workspace take on a small card before any tensor
CONTEXT_MB = 450.0


def resident_mb() -> float:
    """Memory of this process in millions of bytes."""
    return float(psutil.Process().memory_info().rss) / MB


class SavedBytes:
    """Counts what autograd keeps for the backward pass.

    Example:
        >>> import torch
        >>> weight = torch.ones(1000, requires_grad=True)
        >>> with SavedBytes() as saved:
        ...     loss = (weight * torch.ones(1000)).sum()
        >>> saved.total > 0
        True

    Attributes:
        total: In bytes; each storage counts once.
    """

    def __init__(self) -> None:
        self.total = 0
        self._seen: set[int] = set()
        self._hooks = saved_tensors_hooks(self._pack, lambda tensor: tensor)
        # kept so that no address is used twice while counting
        self._kept: list[Tensor] = []

    def __enter__(self) -> SavedBytes:
        """Starts to count."""
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Stops to count."""
        self._hooks.__exit__(*error)
        self._kept.clear()

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter) and storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._kept.append(tensor)
            self.total += storage.nbytes()
        return tensor


@contextmanager
def largest_step(model: nn.Module) -> Iterator[list[int]]:
    """Notes the bytes of input and output of every leaf module: inference needs the largest.

    Yields:
        A list that a forward pass fills.
    """
    found: list[int] = []

    def note(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        tensors = [value for value in (*inputs, output) if isinstance(value, Tensor)]
        found.append(sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    leaves = (module for module in model.modules() if not list(module.children()))
    handles = [module.register_forward_hook(note) for module in leaves]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
