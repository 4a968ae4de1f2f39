from __future__ import annotations

import pytest
import torch
from torch import nn

from callbacks import layerwise_groups


def model() -> nn.Module:
    net = nn.Sequential(
        *(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    )
    with torch.no_grad():
        # equal values: only identity tells them apart
        for parameter in net.parameters():
            parameter.fill_(1)
    return net


@pytest.mark.parametrize("stages", [["4"], ["0", "2", "4"], ["[01]", "[23]", "4"], ["*"]])
def test_every_parameter_is_once_in_a_group(stages: list[str]) -> None:
    net = model()
    groups = layerwise_groups(net, stages, 0.1, 0.5)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters())
    torch.optim.AdamW(groups)


def test_rates_fall_towards_the_input() -> None:
    groups = layerwise_groups(model(), ["[01]", "[23]"], 0.1, 0.5)
    assert [(g["name"], g["lr"]) for g in groups] == [
        *(("rest", pytest.approx(0.025)), ("[01]", pytest.approx(0.05)), ("[23]", 0.1)),
    ]


def test_a_shared_parameter_and_a_frozen_one_are_there_once() -> None:
    net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    net["b"].weight = net["a"].weight
    net.requires_grad_(False)
    groups = layerwise_groups(net, ["a", "b"], 0.1, 0.5)
    assert sum(len(g["params"]) for g in groups) == 3


def test_the_stage_nearest_the_output_has_what_two_name() -> None:
    first, last = layerwise_groups(model(), ["*", "4"], 0.1, 0.5)
    assert (len(first["params"]), len(last["params"])) == (8, 2)


@pytest.mark.parametrize(
    ("stages", "lr", "decay", "message"),
    [(["nope"], 0.1, 0.5, "nope"), (["4", "*"], 0.1, 0.5, "'4'"), (["4"], 0.1, 0, "decay")],
)
def test_errors(stages: list[str], lr: float, decay: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layerwise_groups(model(), stages, lr, decay)
