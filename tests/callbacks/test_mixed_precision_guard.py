from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision, Precision
from torch import Tensor

from callbacks import MetricRollback, MixedPrecisionGuard
from tests.callbacks.tiny import Fault, Plugins, Tiny, fit, same


def plugin(**options: Any) -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", **options))


class Large(Tiny):
    """What it computes on the way does not fit into fp16."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x).half() if torch.is_autocast_enabled("cpu") else self.body(x)
        return self.head(hidden * 1e5 / 1e5)


class Noisy(Tiny):
    """fp16 finite, but wrong."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out * 1.5 if torch.is_autocast_enabled("cpu") else out


class Overflowing(Tiny):
    """Its gradients are infinite at any scale, under fp16 only."""

    def __init__(self, since: int = 0) -> None:
        super().__init__()
        self.since = since

    def on_after_backward(self) -> None:
        if self.trainer.precision_plugin.state_dict() and self.current_epoch >= self.since:
            for parameter in self.parameters():
                assert parameter.grad is not None
                parameter.grad.fill_(float("inf"))


def test_fp16_that_works_stays(tmp_path: Path) -> None:
    guard, plugins = MixedPrecisionGuard(), Plugins()
    run = fit(tmp_path, 2, guard, plugins, model=Tiny(), plugins=[plugin()])
    assert guard.reason is None
    assert plugins.seen == ["16-mixed"] * 8
    assert float(run.callback_metrics["amp/scale"]) == 65536
    assert float(run.callback_metrics["amp/skipped"]) == guard.skipped == 0
    assert guard.steps == 8


@pytest.mark.parametrize(
    ("model", "message"), [(Large(), "not finite"), (Noisy(), "away from fp32")]
)
def test_a_forward_that_fails_the_check_never_trains_in_fp16(
    model: Tiny, message: str, tmp_path: Path
) -> None:
    guard, plugins = MixedPrecisionGuard(), Plugins()
    with pytest.warns(UserWarning, match=f"from 16-mixed to 32-true.*{message}"):
        fit(tmp_path, 1, guard, plugins, model=model, plugins=[plugin()])
    assert plugins.seen == ["32-true"] * 4


def test_the_example_input_is_what_is_checked(tmp_path: Path) -> None:
    model = Tiny()
    model.example_input_array = torch.full((8, 4), 6e4)
    seen = []
    forward = model.forward
    model.forward = lambda x: seen.append(float(x[0, 0])) or forward(x)  # type: ignore[method-assign,func-returns-value]
    fit(tmp_path, 1, MixedPrecisionGuard(), model=model, plugins=[plugin()], num_sanity_val_steps=0)
    assert seen[:2] == [6e4, 6e4]


class Named(Tiny):
    """Its batches are mappings, and forward takes a part of them by its name."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return {"target": batch[1], "x": batch[0]}

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return out * float("nan") if torch.is_autocast_enabled("cpu") else out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step((batch["x"], batch["target"]), batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step((batch["x"], batch["target"]), batch_idx)


def test_a_batch_that_is_a_mapping_is_checked_by_its_part(tmp_path: Path) -> None:
    guard = MixedPrecisionGuard()
    fit(tmp_path, 1, guard, model=Named(), plugins=[plugin()])
    assert guard.reason == "forward is not finite in fp16, and is in fp32"


def test_the_check_changes_nothing(tmp_path: Path) -> None:
    class Random(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.dropout(x, 0.3, self.training))

    models = Random(), Random()
    for model, extra in zip(models, ([], [MixedPrecisionGuard()]), strict=True):
        torch.manual_seed(7)
        fit(tmp_path, 2, *extra, model=model, plugins=[plugin()])
    assert same(models[0].state_dict(), models[1].state_dict())


def test_a_model_that_is_broken_in_fp32_too_is_not_fp16s_fault(tmp_path: Path) -> None:
    class Broken(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float("nan")

    guard = MixedPrecisionGuard(max_skipped=1)
    fit(tmp_path, 1, guard, model=Broken(), plugins=[plugin()])
    assert guard.reason is None


def test_a_first_batch_that_is_broken_itself_is_no_check(tmp_path: Path) -> None:
    guard, plugins = MixedPrecisionGuard(), Plugins()
    fault = Fault("nan", epoch=0, batch=0)
    fit(tmp_path, 1, fault, guard, plugins, model=Noisy(), plugins=[plugin()])
    assert guard.reason is not None
    assert "away from fp32" in guard.reason
    assert plugins.seen == ["16-mixed"] + ["32-true"] * 3


@pytest.mark.parametrize("kind", [Tiny, Noisy])
def test_outputs_that_are_infinite_by_design_hide_nothing(kind: type[Tiny], tmp_path: Path) -> None:
    class Masked(kind):  # type: ignore[misc,valid-type]
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = super().forward(x)
            wide = torch.full((len(out), 5), -torch.inf, dtype=out.dtype)
            return torch.cat([out, wide], dim=1)

    guard = MixedPrecisionGuard()
    fit(tmp_path, 1, guard, model=Masked(), plugins=[plugin()])
    assert (guard.reason is None) == (kind is Tiny)


def test_a_forward_that_cannot_be_called_is_said_and_not_trusted(tmp_path: Path) -> None:
    class Odd(Tiny):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return torch.nn.functional.cross_entropy(self.head(self.body(batch[0])), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            pass

        def forward(self, x: Tensor) -> Tensor:
            raise NotImplementedError("no forward here")

    plugins = Plugins()
    with pytest.warns(UserWarning, match="to 32-true.*no forward here.*example_input_array"):
        fit(tmp_path, 1, MixedPrecisionGuard(), plugins, model=Odd(), plugins=[plugin()])
    assert plugins.seen == ["32-true"] * 4


class Roomless(Noisy):
    """Has memory for a few rows only where no gradients are kept: in the check."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.is_grad_enabled():
            self.sizes.append(len(x))
            if len(x) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(x)


def test_a_check_that_does_not_fit_into_memory_takes_fewer_rows(tmp_path: Path) -> None:
    guard, model = MixedPrecisionGuard(), Roomless(4)
    fit(tmp_path, 1, guard, model=model, plugins=[plugin()])
    assert model.sizes == [12, 6, 3, 3]
    assert guard.reason is not None
    assert "away from fp32" in guard.reason


@pytest.mark.parametrize("fallback", ["32-true", "bf16-mixed"])
def test_fp16_that_never_fits_its_check_is_not_trusted(fallback: Any, tmp_path: Path) -> None:
    guard, plugins, model = MixedPrecisionGuard(fallback=fallback), Plugins(), Roomless(0)
    said = f"from 16-mixed to {fallback}: fp16 could not be checked.*out of memory.*: free memory"
    with pytest.warns(UserWarning, match=said):
        fit(tmp_path, 1, guard, plugins, model=model, plugins=[plugin()])
    assert model.sizes == [12, 6, 3]
    assert plugins.seen == [fallback] * 4
    assert guard.reason is not None
    assert "\n" not in guard.reason


def test_a_resumed_run_is_checked_where_it_goes_on(tmp_path: Path) -> None:
    run = fit(tmp_path, 1, MixedPrecisionGuard(), model=Tiny(), plugins=[plugin()])
    run.save_checkpoint(tmp_path / "last.ckpt")
    guard, last = MixedPrecisionGuard(), tmp_path / "last.ckpt"
    # the same weights on a card that is wrong in fp16
    fit(tmp_path, 2, guard, model=Noisy(), plugins=[plugin()], ckpt_path=last)
    assert guard.reason is not None
    assert "away from fp32" in guard.reason


def test_skipped_steps_end_fp16_at_the_next_epoch(tmp_path: Path) -> None:
    guard, plugins = MixedPrecisionGuard(warmup_steps=0), Plugins()
    model = Overflowing(since=1)
    with pytest.warns(UserWarning, match="32-true: 4 of 4 steps were skipped in epoch 1"):
        fit(tmp_path, 4, guard, plugins, model=model, plugins=[plugin()])
    assert plugins.seen == ["16-mixed"] * 8 + ["32-true"] * 8
    assert guard.skipped == 4


def test_a_tiny_scale_ends_fp16(tmp_path: Path) -> None:
    guard, plugins = MixedPrecisionGuard(warmup_steps=99), Plugins()
    with pytest.warns(UserWarning, match="loss scale fell to 0.5"):
        fit(tmp_path, 2, guard, plugins, model=Overflowing(), plugins=[plugin(init_scale=8.0)])
    assert plugins.seen == ["16-mixed"] * 4 + ["32-true"] * 4


def test_a_scaler_that_looks_for_its_scale_is_left_in_peace(tmp_path: Path) -> None:
    guard = MixedPrecisionGuard()
    fit(tmp_path, 4, guard, model=Tiny(), plugins=[plugin(init_scale=2.0**26)])
    assert guard.skipped >= 1
    assert guard.reason is None


def test_bf16_where_it_is_named(tmp_path: Path) -> None:
    plugins = Plugins()
    fit(
        tmp_path,
        1,
        MixedPrecisionGuard(fallback="bf16-mixed"),
        plugins,
        model=Large(),
        plugins=[plugin()],
    )
    assert plugins.seen == ["bf16-mixed"] * 4


def test_without_fp16_it_does_nothing(tmp_path: Path) -> None:
    guard = MixedPrecisionGuard()
    run = fit(tmp_path, 1, guard, model=Large())
    assert type(run.precision_plugin) is Precision
    assert guard.steps == 0
    assert "amp/scale" not in run.callback_metrics


def test_a_resumed_run_stays_where_it_fell_back_to(tmp_path: Path) -> None:
    def run(folder: Path, ckpt: Path | None = None) -> tuple[Tiny, MixedPrecisionGuard, Plugins]:
        model, guard, plugins = Overflowing(since=1), MixedPrecisionGuard(warmup_steps=0), Plugins()
        keep = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        fit(
            folder,
            4,
            *(guard, plugins, MetricRollback("val_loss", tolerance=9), keep),
            model=model,
            plugins=[plugin()],
            enable_checkpointing=True,
            ckpt_path=ckpt,
            num_sanity_val_steps=0,
        )
        return model, guard, plugins

    model, guard, _ = run(tmp_path / "whole")
    for epoch in range(3):
        again, resumed, plugins = run(
            tmp_path / f"from{epoch}", tmp_path / "whole" / f"epoch={epoch}.ckpt"
        )
        assert same(again.state_dict(), model.state_dict()), epoch
        assert resumed.state_dict() == guard.state_dict()
        assert plugins.seen.count("16-mixed") == (4 if epoch == 0 else 0)


def test_state_round_trip(tmp_path: Path) -> None:
    one = MixedPrecisionGuard()
    fit(tmp_path, 1, one, model=Large(), plugins=[plugin()])
    torch.save(one.state_dict(), tmp_path / "s.pt")
    two = MixedPrecisionGuard()
    two.load_state_dict(torch.load(tmp_path / "s.pt", weights_only=True))
    assert two.state_dict() == one.state_dict()


@pytest.mark.parametrize(
    "wrong", [{"tolerance": 0}, {"max_skipped": 2}, {"warmup_steps": -1}, {"fallback": "fp8"}]
)
def test_arguments_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match=next(iter(wrong))):
        MixedPrecisionGuard(**wrong)
