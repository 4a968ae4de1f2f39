"""What CUDA is asked for and told, on machines without it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from callbacks.gpu_memory import cap_gpu_memory
from callbacks.step_memory import StepMemory


def test_the_cap_is_a_share_of_each_card(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: dict[int, float] = {}
    totals = {0: 8 * 10**9, 1: 3 * 10**9}
    for name, answer in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_properties": lambda n: SimpleNamespace(total_memory=totals[n]),
        "set_per_process_memory_fraction": lambda share, n: shares.update({n: share}),
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    cap_gpu_memory(4 * 10**9)
    assert shares == {0: 0.5, 1: 1.0}


def test_the_peak_on_a_card_is_the_allocators(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", resets.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 123)
    card = torch.device("cuda", 0)
    with StepMemory(card) as memory:
        memory.include([torch.ones(3)])
        memory.reset()
        assert memory.peak == 123
    assert resets == [card, card]


def test_the_count_is_near_the_allocators_own() -> None:
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(32 * 256, 10)),
    )
    photos = torch.randn(8, 3, 32, 32)

    def step() -> None:
        for parameter in net.parameters():
            parameter.grad = None
        net(photos).logsumexp(dim=1).sum().backward()

    step()
    with StepMemory(torch.device("cpu")) as memory:
        step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step()
    now = peak = 0
    for event in trace.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    # rather too much: the count lets go of a tensor a little later
    assert 0.95 * peak < memory.peak < 1.25 * peak
