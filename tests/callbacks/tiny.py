"""A classifier so small that an epoch takes milliseconds, and the ways to hurt it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

Batch = tuple[Tensor, Tensor]


class Tiny(LightningModule):
    """Three separable classes; the order of the batches never changes."""

    def __init__(self, seed: int = 0, lr: float = 0.1, schedule: str | None = None) -> None:
        super().__init__()
        self.rate, self.schedule = lr, schedule
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
            self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.rate)
        if self.schedule is None:
            return optimizer
        kinds: dict[str, Any] = {
            "lambda": lambda: torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda epoch: 0.9**epoch
            ),
            "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50),
            "onecycle": lambda: torch.optim.lr_scheduler.OneCycleLR(
                optimizer, self.rate, total_steps=50
            ),
            "sequential": lambda: torch.optim.lr_scheduler.SequentialLR(
                optimizer,
                [
                    torch.optim.lr_scheduler.LinearLR(optimizer, 0.5, total_iters=2),
                    torch.optim.lr_scheduler.StepLR(optimizer, 3),
                ],
                [2],
            ),
        }
        return [optimizer], [kinds[self.schedule]()]


def data(seed: int = 0, count: int = 48) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    points = 2 * torch.eye(3, 4)[labels] + torch.randn(count, 4, generator=generator)
    return DataLoader(TensorDataset(points, labels), batch_size=12)


def trainer(folder: Path, epochs: int, callbacks: Sequence[Callback], **options: Any) -> Trainer:
    return Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": epochs,
            "default_root_dir": folder,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": list(callbacks),
            **options,
        }
    )


def fit(folder: Path, epochs: int, *callbacks: Callback, model: Tiny, **options: Any) -> Trainer:
    ckpt = options.pop("ckpt_path", None)
    run = trainer(folder, epochs, callbacks, **options)
    run.fit(model, data(1), data(2), ckpt_path=ckpt)
    return run


@torch.no_grad()
def loss_of(model: LightningModule) -> float:
    """What validation computes."""
    model.eval()
    losses = [cross_entropy(model(x), y) for x, y in data(2)]
    return float(torch.stack(losses).mean())


def same(a: Any, b: Any) -> bool:
    """Whether two nested states are equal to the bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a.cpu(), b.cpu())
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


class Fault(Callback):
    """Hurts a training in one epoch."""

    def __init__(self, kind: str, epoch: int, batch: int = 1) -> None:
        self.kind, self.epoch, self.batch = kind, epoch, batch
        self.before = float("inf")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch != self.epoch:
            return
        if self.kind == "labels":
            batch[1].copy_((batch[1] + 1 + batch_idx % 2) % 3)
        if batch_idx != self.batch:
            return
        if self.kind == "nan":
            batch[0].fill_(float("nan"))
        if self.kind == "rate":
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= 1000

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        here = (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx)
        if self.kind == "inf" and here == (self.epoch, self.batch):
            for parameter in pl_module.parameters():
                assert parameter.grad is not None
                parameter.grad.fill_(float("inf"))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics.get("val_loss")
        if score is not None and not trainer.sanity_checking and trainer.current_epoch < self.epoch:
            self.before = min(self.before, float(score))


class Scripted(Tiny):
    """Its scores are written down beforehand, one a validation."""

    def __init__(self, scores: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self.scores = list(scores)
        self.validations = 0
        self.seen: list[dict[str, Tensor]] = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("score", self.scores[min(self.validations, len(self.scores) - 1)])

    def on_validation_end(self) -> None:
        if self.trainer.sanity_checking:
            return
        self.validations += 1
        self.seen.append({k: v.clone() for k, v in self.state_dict().items()})


class Plugins(Callback):
    """Takes down in which precision each batch was trained."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        self.seen.append(getattr(trainer.precision_plugin, "precision", "32-true"))
