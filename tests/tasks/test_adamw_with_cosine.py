from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from lazarus_pl.tasks.adamw_with_cosine import adamw_with_cosine


def optimizer_of(module: nn.Module, clip: float | None) -> Any:  # noqa: ANN401  # torch's own
    """Of a trainer in mixed precision; one that clips cannot step in one kernel."""
    plugin = object.__new__(MixedPrecision)
    trainer: Any = SimpleNamespace(
        precision_plugin=plugin, gradient_clip_val=clip, estimated_stepping_batches=10
    )
    groups = [{"params": list(module.parameters()), "lr": 0.1, "weight_decay": 0.0}]
    made: Any = adamw_with_cosine(trainer, torch.device("cpu"), groups, [0.0])
    return made["optimizer"]


@pytest.mark.parametrize(("before", "after"), [(1.0, None), (None, 1.0)])
def test_a_run_that_is_continued_steps_in_its_own_way(
    before: float | None, after: float | None
) -> None:
    module, scaler = nn.Linear(2, 1), torch.amp.GradScaler("cpu")

    def step(optimizer: torch.optim.Optimizer) -> None:
        scaler.scale(module(torch.ones(1, 2)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    first, second = optimizer_of(module, before), optimizer_of(module, after)
    step(first)
    second.load_state_dict(first.state_dict())
    weights = module.weight.detach().clone()
    step(second)
    assert [bool(group["fused"]) for group in second.param_groups] == [after is None]
    assert not torch.equal(module.weight, weights)
    assert torch.isfinite(module.weight).all()
