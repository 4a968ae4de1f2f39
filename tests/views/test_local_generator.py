from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from lazarus_pl.views.local_generator import LocalGenerator

DRAWS: dict[str, Callable[[], Tensor]] = {
    "rand": lambda: torch.rand(3),
    "randn": lambda: torch.randn(3),
    "randint": lambda: torch.randint(0, 99, size=(3,)),
    "randint up to": lambda: torch.randint(99, ()),
    "randperm": lambda: torch.randperm(9),
    "normal": lambda: torch.normal(torch.zeros(3), torch.ones(3)),
    "bernoulli": lambda: torch.bernoulli(torch.full((20,), 0.5)),
    "multinomial": lambda: torch.multinomial(torch.ones(50), 1),
    "uniform_": lambda: torch.empty(3).uniform_(2, 3),
    "normal_": lambda: torch.empty(3).normal_(),
    "rand_like": lambda: torch.rand_like(torch.zeros(3, dtype=torch.float64)),
    "randn_like": lambda: torch.randn_like(torch.zeros(2, 2, dtype=torch.uint8), dtype=torch.float),
}


def drawn(name: str, seed: int) -> Tensor:
    with LocalGenerator(seed):
        return DRAWS[name]()


@pytest.mark.parametrize("name", DRAWS)
def test_the_seed_determines_the_draw_and_the_global_generator_stays(name: str) -> None:
    before = torch.get_rng_state()
    first = drawn(name, 7)
    torch.manual_seed(5)
    assert torch.equal(drawn(name, 7), first)
    assert first.dtype == DRAWS[name]().dtype
    torch.set_rng_state(before)
    drawn(name, 7)
    assert torch.equal(torch.get_rng_state(), before)
    assert any(not torch.equal(drawn(name, seed), first) for seed in range(8, 12))


def test_threads_do_not_see_each_other() -> None:
    alone = [drawn("rand", seed) for seed in range(200)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seed: drawn("rand", seed), range(200)))
    assert all(map(torch.equal, alone, together))
