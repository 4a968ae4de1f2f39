from __future__ import annotations

import pytest
import torch
from torch import nn

from callbacks.known_gradients import with_known_gradients


@pytest.mark.parametrize("scale", [None, torch.tensor(1024.0)])
def test_gradients_are_those_of_the_loss_times_what_is_done_with_it(
    scale: torch.Tensor | None,
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    unused = nn.Parameter(torch.ones(1))
    parameters = [*module.parameters(), unused]
    inputs = torch.randn(5, 3)
    (module(inputs).square().mean() * 3).backward()
    expected = [p.grad for p in parameters]
    module.zero_grad()
    loss = with_known_gradients(module(inputs).square().mean(), parameters, scale)
    assert all(p.grad is None for p in module.parameters())
    (loss * 3).backward()
    for parameter, gradient in zip(parameters, expected, strict=True):
        if gradient is None:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, gradient)
