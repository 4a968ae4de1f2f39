"""What the nine heads are thought to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from lazarus_pl.audit.costs import heads_cost
from lazarus_pl.audit.costs.heads_cost import _HeadProbe, probe_heads
from lazarus_pl.datamodules.cached_dataset import Batch
from lazarus_pl.tasks.classification_task import ClassificationTask

ATTENTION = _HeadProbe(
    layers=("grid16",),
    shares=True,
    device=torch.device("cpu"),
    values=16 * 16 * 112,
    epochs=20,
    train_seconds=0.01,
    val_seconds=0.005,
    gpu_mb=1.0,
    checkpoint_mb=1.0,
)
POOLED = replace(ATTENTION, layers=("pooled",), values=1280, epochs=40, train_seconds=1e-5)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Cores that each trial has, of four."""
    noted: list[int] = []

    def probe(name: str, cache: Path) -> _HeadProbe:
        noted.append(torch.get_num_threads())
        return ATTENTION if name == "attention" else POOLED

    monkeypatch.setattr(heads_cost, "_probe", probe)
    monkeypatch.setattr(heads_cost, "_overhead", lambda *_: (0.0, 0.0))
    monkeypatch.setattr(heads_cost, "_pooled_mb", lambda *_: 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield noted
    torch.set_num_threads(before)


def test_steps_are_tried_where_the_grid_trains(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # told from the device that everything is on before it is moved
    place = torch.device("cpu", 0)
    moved: list[tuple[str, object]] = []
    move, to = heads_cost.move_data_to_device, ClassificationTask.to

    def noted(batch: Batch, device: torch.device) -> Any:  # noqa: ANN401  # as Lightning's
        moved.append(("batch", device))
        return move(batch, device)

    def sent(task: ClassificationTask, device: torch.device) -> ClassificationTask:
        moved.append(("task", device))
        return to(task, device)

    monkeypatch.setattr(heads_cost, "move_data_to_device", noted)
    monkeypatch.setattr(ClassificationTask, "to", sent)
    monkeypatch.setattr(SingleDeviceStrategy, "root_device", place)
    assert heads_cost._probe("linear", cache).device is place
    assert moved[0] == ("task", place)
    # three steps, three looks, and one for its memory
    assert moved[1:] == [("batch", place)] * 7


def _seconds(tmp_path: Path, train: int) -> float:
    return probe_heads(tmp_path, {"train": train, "val": 0}, tmp_path)[0].seconds


def test_a_grid_that_two_processes_share_is_tried_with_half_of_the_cores(
    threads: list[int], tmp_path: Path
) -> None:
    # three of attention and six that are next to nothing
    whole = 3 * (5000 * 20 * 0.01 + 2 * 5000 * 40 * 1e-5)
    assert _seconds(tmp_path, 5000) == pytest.approx((whole + 6) / 2)
    assert threads == [4, 4, 4, 2, 2, 2]


def test_a_grid_that_one_process_trains_is_tried_with_all_of_them(
    threads: list[int], tmp_path: Path
) -> None:
    # steps are slow, yet the grid does not know that
    assert _seconds(tmp_path, 300) == pytest.approx(3 * (300 * 20 * 0.01 + 2 * 300 * 40 * 1e-5))
    assert threads == [4, 4, 4]


@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_on_a_gpu_nothing_is_halved(
    threads: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    on_gpu = replace(ATTENTION, device=torch.device(device), shares=device == "cuda")
    monkeypatch.setattr(heads_cost, "_probe", lambda *_: on_gpu)
    assert _seconds(tmp_path, 5000) == pytest.approx(9 * 5000 * 20 * 0.01)
