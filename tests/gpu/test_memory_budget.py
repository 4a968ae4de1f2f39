"""The allocator itself refuses more, and gradients are those of the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from callbacks import MemoryBudget
from callbacks.step_memory import StepMemory
from tests.gpu.begin_anew import begin_anew

Precision = Literal["32-true", "16-mixed"]
# a photo of a step takes some 25 MB, a batch 1.6 GB
ROWS, SIDE, WIDTH, DEPTH = 64, 64, 64, 6
# a photo of this side 1.6 GB
LARGE = 512


def block() -> nn.Module:
    convolutions = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))
    return nn.Sequential(*(part for each in convolutions for part in (each, nn.GELU())))


class Deep(LightningModule):
    """Convolutions whose activations take much more than their weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(block() for _ in range(DEPTH))
        self.head = nn.Linear(WIDTH, 3)
        self.checkpointing = False
        self.seen: list[Tensor] = []

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.checkpointing = enable

    def forward(self, photos: Tensor) -> Tensor:
        values = self.stem(photos)
        for each in self.blocks:
            if self.checkpointing:
                values = checkpoint(each, values, use_reentrant=False)
            else:
                values = each(values)
        scores: Tensor = self.head(values.mean(dim=(2, 3)))
        return scores

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        found = [p.grad.flatten() for p in self.parameters() if p.grad is not None]
        self.seen.append(torch.cat(found).cpu())

    def configure_optimizers(self) -> Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def photos(rows: int, side: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2 * rows, 3, side, side, generator=generator)
    return DataLoader(TensorDataset(pixels, torch.arange(2 * rows) % 3), batch_size=rows)


def train(
    folder: Path,
    *callbacks: Callback,
    precision: Precision = "32-true",
    rows: int = ROWS,
    side: int = SIDE,
) -> Deep:
    module = Deep()
    Trainer(
        accelerator="gpu",
        devices=1,
        precision=precision,
        max_epochs=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    ).fit(module, photos(rows, side))
    return module


def assert_same_gradients(ours: Deep, theirs: Deep, most: float) -> None:
    assert len(ours.seen) == len(theirs.seen) == 2
    for mine, other in zip(ours.seen, theirs.seen, strict=True):
        assert float((mine - other).norm() / other.norm()) < most


@pytest.mark.parametrize(("precision", "most"), [("32-true", 0.01), ("16-mixed", 0.05)])
def test_a_budget_is_kept_and_gradients_are_the_same(
    precision: Precision, most: float, gpu: torch.device, tmp_path: Path
) -> None:
    whole = train(tmp_path, precision=precision)
    needed = torch.cuda.max_memory_reserved(gpu)
    begin_anew(gpu)
    budget = MemoryBudget(needed // 3)
    split = train(tmp_path, budget, precision=precision)
    assert budget.is_split
    assert not budget.checkpointing
    assert torch.cuda.max_memory_reserved(gpu) <= needed // 3
    assert_same_gradients(split, whole, most)


def test_memory_that_really_runs_out_halves_the_parts(gpu: torch.device, tmp_path: Path) -> None:
    whole = train(tmp_path)
    needed = torch.cuda.max_memory_reserved(gpu)
    begin_anew(gpu)
    total = torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction(needed / 3 / total, gpu)
    budget = MemoryBudget()
    with pytest.warns(UserWarning, match="64 of 64 rows at once did not fit"):
        split = train(tmp_path, budget)
    assert budget.is_split
    assert_same_gradients(split, whole, 0.01)


def test_where_one_photo_does_not_fit_activations_are_computed_again(
    gpu: torch.device, tmp_path: Path
) -> None:
    one = _one_photo(gpu, checkpointing=False)
    again = _one_photo(gpu, checkpointing=True)
    assert again < one
    begin_anew(gpu)
    budget = MemoryBudget((one + again) // 2)
    train(tmp_path, budget, rows=2, side=LARGE)
    assert (budget.micro_batch, budget.checkpointing) == (1, True)


def _one_photo(gpu: torch.device, checkpointing: bool) -> int:
    """What a step on one photo takes, as the allocator counts it."""
    module = Deep().to(gpu)
    module.set_grad_checkpointing(checkpointing)
    with StepMemory(gpu) as memory:
        module(torch.randn(1, 3, LARGE, LARGE, device=gpu)).sum().backward()
        return memory.peak
