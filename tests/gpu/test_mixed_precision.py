"""A loss scaler as it is on a GPU, with what else watches over a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks import GradientMonitor, MetricRollback, MixedPrecisionGuard
from tests.callbacks.tiny import Plugins, Tiny, fit, loss_of


class Large(Tiny):
    """Its activations are beyond float16, not beyond bfloat16 or float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x) * 1e6) * 1e-6  # type: ignore[no-any-return]


class Poison(Callback):
    """Makes the weights NaN in the middle of the second epoch."""

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        *rest: object,
    ) -> None:
        if trainer.current_epoch == 1 and not trainer.sanity_checking:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(float("nan"))


ON_GPU: dict[str, Any] = {"accelerator": "gpu", "devices": 1, "precision": "16-mixed"}


def test_fp16_that_works_stays(tmp_path: Path) -> None:
    guard, plugins, model = MixedPrecisionGuard(), Plugins(), Tiny()
    run = fit(tmp_path, 3, guard, plugins, GradientMonitor(), model=model, **ON_GPU)
    assert guard.reason is None
    assert set(plugins.seen) == {"16-mixed"}
    assert float(run.callback_metrics["amp/scale"]) >= 1
    assert loss_of(model.cpu()) < 0.5


def test_fp16_that_overflows_is_left_for_what_the_card_has(tmp_path: Path) -> None:
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    other = "bf16-mixed" if bf16 else "32-true"
    guard, plugins = MixedPrecisionGuard(), Plugins()
    with pytest.warns(UserWarning, match=f"from 16-mixed to {other}"):
        fit(tmp_path, 2, guard, plugins, model=Large(), **ON_GPU)
    assert set(plugins.seen) == {other}


def test_ruined_weights_go_back_and_the_scaler_with_them(tmp_path: Path) -> None:
    rollback, model = MetricRollback("val_loss", tolerance=0.1), Tiny()
    run = fit(tmp_path, 4, rollback, Poison(), MixedPrecisionGuard(), model=model, **ON_GPU)
    best = float(rollback.best_score)
    scaler = run.precision_plugin.scaler  # type: ignore[attr-defined]
    assert rollback.rollbacks == 1
    assert scaler.get_scale() >= 1
    assert loss_of(model.cpu()) == pytest.approx(best, rel=0.02)


def test_a_run_of_a_gpu_goes_on_exactly_and_on_a_cpu_too(tmp_path: Path) -> None:
    def callbacks() -> list[Callback]:
        return [MetricRollback("val_loss"), GradientMonitor(), MixedPrecisionGuard()]

    straight, resumed = Tiny(), Tiny()
    fit(tmp_path / "a", 3, *callbacks(), model=straight, deterministic=True, **ON_GPU)
    run = fit(tmp_path / "b", 2, *callbacks(), model=Tiny(), deterministic=True, **ON_GPU)
    file = tmp_path / "two.ckpt"
    run.save_checkpoint(file)
    words: dict[str, Any] = {"ckpt_path": file}
    fit(tmp_path / "b", 3, *callbacks(), model=resumed, deterministic=True, **ON_GPU, **words)
    for name, value in straight.state_dict().items():
        assert torch.equal(value.cpu(), resumed.state_dict()[name].cpu()), name
    on_cpu = Tiny()
    fit(tmp_path / "c", 3, *callbacks(), model=on_cpu, **words)
    assert loss_of(on_cpu) == pytest.approx(loss_of(straight.cpu()), abs=0.05)
