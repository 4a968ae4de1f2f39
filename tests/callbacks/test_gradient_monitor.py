from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from callbacks import GradientMonitor
from tests.callbacks.tiny import Fault, Tiny, fit


class Plain(Tiny):
    """Gradient descent, whose updates are easy to tell; no batch norm in between."""

    fused = False

    def configure_optimizers(self) -> Any:
        if self.fused:
            return torch.optim.AdamW(self.parameters(), lr=0.01, fused=True)
        return torch.optim.SGD(self.parameters(), lr=self.rate)


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "gradients.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def scaled(init: float = 1024.0) -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=init))


class Grads(Callback):
    """The gradients as the optimizer gets them."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
        self.norms.append(float(torch.cat([g.flatten() for g in grads]).norm()))


def test_norms_and_ratios_are_those_of_the_step(tmp_path: Path) -> None:
    grads = Grads()
    fit(tmp_path, 1, GradientMonitor(every_n_steps=1), grads, model=Plain(lr=0.1))
    found = lines(tmp_path)
    assert len(found) == 4
    assert [line["grad_norm"] for line in found] == pytest.approx(grads.norms, rel=1e-4)
    first = found[0]
    assert set(first["stages"]) == {"body", "head"}
    assert first["grad_norm"] == pytest.approx(math.hypot(*first["stages"].values()), rel=1e-5)
    head = torch.cat([p.flatten() for p in Tiny().head.parameters()]).norm()
    expected = 0.1 * first["stages"]["head"] / float(head)
    assert first["update_ratio"]["head"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("fused", [False, True])
def test_the_loss_scale_is_out_of_them(fused: bool, tmp_path: Path) -> None:
    def first(folder: str, **options: Any) -> float:
        model = Plain()
        model.fused = fused
        fit(tmp_path / folder, 1, GradientMonitor(every_n_steps=1), model=model, **options)
        return float(lines(tmp_path / folder)[0]["grad_norm"])

    assert first("half", plugins=[scaled()]) == pytest.approx(first("full"), rel=0.02)


def test_once_an_optimizer_step_after_accumulation(tmp_path: Path) -> None:
    grads = Grads()
    monitor = GradientMonitor(every_n_steps=1)
    fit(tmp_path, 2, monitor, grads, model=Plain(), accumulate_grad_batches=2)
    assert [line["grad_norm"] for line in lines(tmp_path)] == pytest.approx(grads.norms, rel=1e-4)
    assert len(grads.norms) == 4


def test_before_lightnings_clipping(tmp_path: Path) -> None:
    fit(tmp_path, 1, GradientMonitor(every_n_steps=1), model=Plain(), gradient_clip_val=1e-3)
    assert lines(tmp_path)[0]["grad_norm"] > 0.01


def test_every_n_steps_and_one_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    tolist = Tensor.tolist

    def counted(self: Tensor) -> Any:
        waits.append(tuple(self.shape))
        return tolist(self)

    monkeypatch.setattr(Tensor, "tolist", counted)
    fit(tmp_path, 3, GradientMonitor(every_n_steps=5), model=Plain())
    assert len(lines(tmp_path)) == 3
    assert [shape for shape in waits if shape == (3, 6)] == [(3, 6)] * 3


def test_depth_and_frozen_stages(tmp_path: Path) -> None:
    model = Plain()
    model.body[0].requires_grad_(False)
    fit(tmp_path, 1, GradientMonitor(depth=2, every_n_steps=1), model=model)
    assert set(lines(tmp_path)[0]["stages"]) == {"body.1", "head"}


def test_a_gradient_that_is_not_finite_is_located(tmp_path: Path) -> None:
    class Break(Callback):
        def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pl_module.get_parameter("body.1.weight").grad.fill_(math.inf)  # type: ignore[union-attr]

    monitor = GradientMonitor(every_n_steps=1)
    with pytest.warns(UserWarning, match=r"'body\.1' are not finite"):
        fit(tmp_path, 1, Break(), monitor, model=Plain(lr=0.0), limit_train_batches=1)
    (alarm,) = lines(tmp_path)[0]["alarms"]
    assert alarm == {"kind": "not finite", "first": "body.1", "last": "body.1"}
    assert monitor.alarms == {"not finite": 1}


def test_an_overflow_under_a_scaler_is_no_reason_to_warn(tmp_path: Path) -> None:
    monitor = GradientMonitor(every_n_steps=1)
    fit(tmp_path, 1, monitor, model=Plain(), plugins=[scaled(2.0**40)])
    assert monitor.alarms["overflow"] >= 1
    assert "not finite" not in monitor.alarms


@pytest.mark.parametrize(("kind", "factor"), [("vanishing", 1e-12), ("exploding", 1e9)])
def test_alarms(kind: str, factor: float, tmp_path: Path) -> None:
    class Times(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * factor

    monitor = GradientMonitor(every_n_steps=1)
    with pytest.warns(UserWarning, match=kind):
        fit(tmp_path, 1, monitor, model=Times(lr=0.0))
    assert monitor.alarms == {kind: 8}


def test_clipping_by_percentile(tmp_path: Path) -> None:
    class Spike(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss * (1e4 if self.global_step == 12 else 1)

    grads = Grads()
    monitor = GradientMonitor(every_n_steps=1, clip_percentile=50)
    fit(tmp_path, 4, monitor, grads, model=Spike(lr=0.001))
    raw = [line["grad_norm"] for line in lines(tmp_path)]
    assert grads.norms[:9] == pytest.approx(raw[:9], rel=1e-4)
    assert raw[12] > 1000
    assert grads.norms[12] <= max(raw[:12]) * 1.001


def test_an_infinite_norm_never_enters_the_window(tmp_path: Path) -> None:
    monitor = GradientMonitor(every_n_steps=1, clip_percentile=50)
    fit(tmp_path, 4, Fault("inf", 3, batch=3), monitor, model=Plain())
    assert len(monitor.state_dict()["recent"][0]) == 15
    assert all(math.isfinite(norm) for norm in monitor.state_dict()["recent"][0])


def test_a_step_is_compared_with_its_own_weights(tmp_path: Path) -> None:
    """Where an optimizer steps more than once in a batch."""

    class Twice(Plain):
        def __init__(self) -> None:
            super().__init__(lr=0.1)
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            optimizer: Any = self.optimizers()
            for _ in range(2):
                loss = super().training_step(batch, batch_idx)
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return loss

    fit(tmp_path, 1, GradientMonitor(every_n_steps=1), model=Twice())
    found = lines(tmp_path)
    assert len(found) == 8
    # plain gradient descent: what a stage moves is its gradient times the rate
    moved = [line["update_ratio"]["head"] / line["stages"]["head"] for line in found]
    sizes = [0.1 / value for value in moved]
    assert max(sizes) / min(sizes) < 1.5
    assert all(abs(b / a - 1) < 0.2 for a, b in pairwise(sizes))


def test_another_training_begins_anew(tmp_path: Path) -> None:
    monitor = GradientMonitor(every_n_steps=3, clip_percentile=50)
    fit(tmp_path, 1, monitor, model=Plain())
    assert monitor.state_dict()["steps"] == {0: 4}
    fit(tmp_path, 1, monitor, model=Plain(seed=1))
    state = monitor.state_dict()
    assert (state["steps"], len(state["recent"][0])) == ({0: 4}, 4)


def test_it_is_in_the_logger(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(tmp_path, 1, GradientMonitor(every_n_steps=1), model=Plain(), logger=logger)
    logger.save()
    header = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()[0]
    assert "grad_norm/head" in header
    assert "update_ratio/body" in header


def test_state_round_trip(tmp_path: Path) -> None:
    one = GradientMonitor(every_n_steps=3, clip_percentile=90)
    fit(tmp_path, 3, one, model=Plain())
    torch.save(one.state_dict(), tmp_path / "s.pt")
    two = GradientMonitor(every_n_steps=3, clip_percentile=90)
    two.load_state_dict(torch.load(tmp_path / "s.pt", weights_only=True))
    assert two.state_dict() == one.state_dict()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"depth": 0}, {"every_n_steps": 0}, {"vanishing": 2e3}),
        *({"clip_percentile": 0}, {"clip_percentile": 101}, {"window": 1}),
    ],
)
def test_arguments_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match=next(iter(wrong))):
        GradientMonitor(**wrong)
