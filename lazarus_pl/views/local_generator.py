"""Randomness of its own for code that draws from torch's global generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_Function = Callable[..., Any]

_TAKE_A_GENERATOR: frozenset[_Function] = frozenset(
    {
        torch.rand,
        torch.randn,
        torch.randint,
        torch.randperm,
        torch.normal,
        torch.bernoulli,
        torch.multinomial,
        torch.poisson,
        torch._standard_gamma,
        torch._sample_dirichlet,
        torch.Tensor.uniform_,
        torch.Tensor.normal_,
        torch.Tensor.random_,
        torch.Tensor.bernoulli_,
        torch.Tensor.exponential_,
        torch.Tensor.multinomial,
    }
)
_LIKE: Mapping[_Function, _Function] = {
    torch.rand_like: torch.rand,
    torch.randn_like: torch.randn,
}


class LocalGenerator(TorchFunctionMode):
    """Within its block this thread draws from a generator of its own.

    torchvision's transforms draw from torch's global generator, which all threads share;
    ``torch.random.fork_rng`` forks it for all of them. A function mode holds for its thread alone,
    needs no lock and leaves the global generator as it was.

    Args:
        seed: Determines all draws of the block; 0 to 2**64 - 1.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator()
        self._generator.manual_seed(seed)

    def __torch_function__(
        self,
        func: _Function,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Calls a function of torch, with the generator if it draws."""
        kwargs = kwargs or {}
        if func in _LIKE:
            like, *others = args
            kwargs.setdefault("dtype", like.dtype)
            func, args = _LIKE[func], (like.shape, *others)
            kwargs.pop("memory_format", None)
        if func in _TAKE_A_GENERATOR and kwargs.get("generator") is None:
            kwargs = {**kwargs, "generator": self._generator}
        return func(*args, **kwargs)
