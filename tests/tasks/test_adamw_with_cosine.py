from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.utils.data import DataLoader

from lazarus_pl.errors import LazarusError
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


class Rates(LightningModule):
    """One weight, and the rates of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.rates: list[float] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return self.weight.square().sum()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        groups = [{"params": [self.weight], "lr": 0.1, "weight_decay": 0.0}]
        return adamw_with_cosine(self.trainer, self.device, groups, [0.0])


def fit_rates(
    folder: Path,
    ckpt: Path | None = None,
    **options: Any,  # noqa: ANN401  # of a trainer
) -> tuple[Trainer, Rates]:
    module = Rates()
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, DataLoader(torch.ones(5, 1)), ckpt_path=ckpt)
    return trainer, module


def test_a_run_that_is_continued_for_longer_follows_its_own_schedule(tmp_path: Path) -> None:
    _, whole = fit_rates(tmp_path, max_epochs=4)
    trainer, _ = fit_rates(tmp_path, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    _, longer = fit_rates(tmp_path, tmp_path / "two.ckpt", max_epochs=4)
    # its first step has the rate that the checkpoint ended with
    assert longer.rates[1:] == pytest.approx(whole.rates[11:])
    assert min(longer.rates[1:-1]) > 0


def test_a_training_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LazarusError, match=r"give trainer\.max_epochs or trainer\.max_steps"):
        fit_rates(tmp_path, max_epochs=-1, max_time={"minutes": 1})
