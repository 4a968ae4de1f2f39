"""Batches taken in parts are the same batches, and memory that runs out ends nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from callbacks import (
    GradientMonitor,
    MemoryBudget,
    MetricRollback,
    MixedPrecisionGuard,
    Phase,
    ProgressiveUnfreezing,
    layerwise_groups,
)
from callbacks.gpu_memory import say_memory
from callbacks.memory_probe import MemoryProbe
from tests.callbacks.tiny import Tiny, data, fit, same, trainer

ROWS = 12


class Frozen(Tiny):
    """Its batch norm is frozen, as it should be where parts are small."""

    def on_train_epoch_start(self) -> None:
        self.body[1].eval()


class Short(Frozen):
    """Has memory for a few rows only, in its forward or in its backward pass."""

    def __init__(self, room: int, where: str = "forward", fails: int = 99, **options: Any) -> None:
        super().__init__(**options)
        self.room, self.where, self.fails = room, where, fails
        self.sizes: list[int] = []
        self.checkpointed = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.sizes.append(len(batch[0]))
        lacking = len(batch[0]) > self.room and self.fails > 0
        self.fails -= lacking
        if lacking and self.where == "forward":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        loss = super().training_step(batch, batch_idx)
        return NoRoom.apply(loss) if lacking else loss  # type: ignore[no-any-return]


class NoRoom(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class Listen(Callback):
    """Takes down the gradients of every optimizer step, and every loss."""

    def __init__(self) -> None:
        self.gradients: list[list[Tensor]] = []
        self.losses: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        kept = [p.grad.clone() for p in pl_module.parameters() if p.grad is not None]
        self.gradients.append(kept)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses += [outputs["loss"]] if outputs else []


def heard(folder: Path, model: Tiny, *callbacks: Callback, **options: Any) -> Listen:
    listen = Listen()
    fit(folder, options.pop("epochs", 2), listen, *callbacks, model=model, **options)
    return listen


def weights(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def assert_close(ours: Sequence[Any], theirs: Sequence[Any], **options: float) -> None:
    torch.testing.assert_close(list(ours), list(theirs), **options)


def half() -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("parts", [1, 5, 6, 11])
def test_gradients_and_losses_are_those_of_the_whole_batch(
    parts: int, accumulate: int, tmp_path: Path
) -> None:
    options = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 0.5}
    whole = heard(tmp_path, Frozen(), **options)
    budget = MemoryBudget(micro_batch=parts)
    split = heard(tmp_path, Frozen(), budget, **options)
    assert budget.is_split
    assert len(whole.gradients) == len(split.gradients) == {1: 8, 3: 4}[accumulate]
    assert_close(split.gradients, whole.gradients)
    assert_close(split.losses, whole.losses)


def test_means_that_a_step_logs_are_those_of_the_whole_batches(tmp_path: Path) -> None:
    class Logs(Frozen):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

    def mean(folder: str, *callbacks: Callback) -> float:
        # the last batch is a smaller one
        run = trainer(tmp_path / folder, 1, callbacks)
        run.fit(Logs(), data(1, 31), data(2))
        return float(run.callback_metrics["train_loss"])

    assert mean("parts", MemoryBudget(micro_batch=5)) == pytest.approx(mean("whole"), rel=1e-5)


def test_a_whole_batch_is_the_same_to_the_bit(tmp_path: Path) -> None:
    models = Tiny(), Tiny()
    heard(tmp_path, models[0])
    heard(tmp_path, models[1], MemoryBudget())
    assert same(*(model.state_dict() for model in models))


def test_small_gradients_of_float16_do_not_vanish(tmp_path: Path) -> None:
    class Faint(Frozen):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * 1e-6

    whole = heard(tmp_path, Faint(), plugins=[half()])
    split = heard(tmp_path, Faint(), MemoryBudget(micro_batch=5), plugins=[half()])
    assert min(float(g.abs().max()) for step in whole.gradients for g in step) > 0
    assert_close(split.gradients, whole.gradients, rtol=0.02, atol=1e-9)


def test_what_is_exact_in_a_mixed_forward_pass_is_exact_backwards(tmp_path: Path) -> None:
    class Exact(Frozen):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.body(x).float()
            with torch.autocast("cpu", enabled=False):
                out: Tensor = self.head(hidden)
            return out

    plain, own = (
        heard(tmp_path, Exact(), *callbacks, plugins=[MixedPrecision("bf16-mixed", "cpu")])
        for callbacks in ([], [MemoryBudget()])
    )
    assert same(own.gradients, plain.gradients)


def test_an_overflow_of_float16_is_seen_and_skipped(tmp_path: Path) -> None:
    class Loud(Frozen):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * (1e36 if batch_idx == 0 else 1)

    ends = []
    for callbacks in ([], [MemoryBudget(micro_batch=5)]):
        model = Loud()
        run = fit(tmp_path, 1, *callbacks, model=model, plugins=[half()])
        scaler = run.precision_plugin.scaler
        ends.append((scaler.get_scale(), weights(model)))
    assert ends[0][0] == ends[1][0] == 2.0**15
    assert_close(ends[1][1], ends[0][1], rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_running_out_of_memory_halves_and_changes_nothing_else(
    accumulate: int, where: str, tmp_path: Path
) -> None:
    calm = Frozen()
    whole = heard(tmp_path, calm, accumulate_grad_batches=accumulate)
    short = Short(ROWS, where)

    class Shrink(Callback):
        """In the second batch of an accumulation."""

        def on_train_batch_start(
            self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
        ) -> None:
            if trainer.current_epoch == 0 and batch_idx == 1:
                short.room = 4

    budget = MemoryBudget()
    with pytest.warns(UserWarning, match="12 of 12 rows at once did not fit.*6 at once"):
        split = heard(tmp_path, short, budget, Shrink(), accumulate_grad_batches=accumulate)
    assert short.sizes[:5] == [12, 12, 6, 3, 3]
    assert budget.micro_batch == 3
    assert_close(split.gradients, whole.gradients)
    assert_close(weights(short), weights(calm))


def test_rows_that_were_done_are_not_done_again(tmp_path: Path) -> None:
    class Late(Short):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.room = ROWS if len(self.sizes) != 2 else 2
            return super().training_step(batch, batch_idx)

    calm, late = Frozen(), Late(ROWS)
    heard(tmp_path, calm, epochs=1)
    heard(tmp_path, late, MemoryBudget(micro_batch=4), epochs=1)
    # the third part of the first batch
    assert late.sizes[:5] == [4, 4, 4, 2, 2]
    assert_close(weights(late), weights(calm))


def test_at_one_row_activations_are_computed_again_and_then_it_ends(tmp_path: Path) -> None:
    class Able(Short):
        def set_grad_checkpointing(self, enable: bool = True) -> None:
            self.checkpointed = enable
            self.room = 1

    able, budget = Able(0), MemoryBudget()
    with pytest.warns(UserWarning, match="with gradient checkpointing"):
        heard(tmp_path, able, budget)
    assert able.checkpointed
    assert (budget.micro_batch, budget.checkpointing) == (1, True)
    able.room = 0
    for model in (Short(0), able):
        with pytest.raises(MisconfigurationException, match="not even 1 of 12 rows") as said:
            heard(tmp_path, model, MemoryBudget())
        assert "\n" not in str(said.value)
        assert "training_step" not in vars(model)
        able.set_grad_checkpointing = lambda enable=True: None  # type: ignore[method-assign]


def test_other_errors_are_not_touched(tmp_path: Path) -> None:
    class Broken(Frozen):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    model, budget = Broken(), MemoryBudget()
    with pytest.raises(RuntimeError, match="mat1"):
        heard(tmp_path, model, budget)
    assert budget.micro_batch is None
    assert "training_step" not in vars(model)


def test_a_resumed_run_goes_on_with_what_fitted(tmp_path: Path) -> None:
    first = MemoryBudget()
    run = fit(tmp_path, 1, first, model=Short(5))
    run.save_checkpoint(tmp_path / "last.ckpt")
    again, model = MemoryBudget(), Short(ROWS)
    fit(tmp_path, 2, again, model=model, ckpt_path=tmp_path / "last.ckpt")
    assert set(model.sizes) == {3}
    assert again.state_dict() == first.state_dict()
    tighter = MemoryBudget(micro_batch=2)
    tighter.load_state_dict(first.state_dict())
    assert tighter.micro_batch == 2


@pytest.mark.parametrize(("asked", "before", "rows"), [(8, None, 8), (8, 4, 8), (8, 8, 3)])
def test_what_is_newly_asked_for_wins_over_a_checkpoint(
    asked: int, before: int | None, rows: int
) -> None:
    first = MemoryBudget(micro_batch=before)
    first.micro_batch = 3
    again = MemoryBudget(micro_batch=asked)
    again.load_state_dict(first.state_dict())
    assert again.micro_batch == rows


def test_more_rows_than_a_checkpoint_knew_are_measured_within_the_budget(tmp_path: Path) -> None:
    most = probed(tmp_path, Wide())[1]
    run = fit(tmp_path, 1, MemoryBudget(most - 1, micro_batch=4), model=Wide())
    run.save_checkpoint(tmp_path / "last.ckpt")
    again = MemoryBudget(most - 1, micro_batch=ROWS)
    fit(tmp_path, 2, again, model=Wide(), ckpt_path=tmp_path / "last.ckpt")
    assert again.micro_batch == 8


def test_a_new_fit_begins_anew(tmp_path: Path) -> None:
    budget = MemoryBudget()
    fit(tmp_path, 1, budget, model=Short(5))
    model = Short(ROWS)
    fit(tmp_path, 1, budget, model=model)
    assert set(model.sizes) == {ROWS}


class Grouped(Short):
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(layerwise_groups(self, ["body", "head"], 0.05, 0.5))


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_it_composes(precision: str, tmp_path: Path) -> None:
    scores = []
    for split in (False, True):
        folder = tmp_path / str(split)
        model = Grouped(7 if split else ROWS)
        rollback = MetricRollback("val_loss", dirpath=folder, max_rollbacks=1)
        phases = [Phase(0, ("head",)), Phase(1, ("body",), warmup_steps=2)]
        monitor = GradientMonitor(every_n_steps=1, dirpath=folder, clip_percentile=90)
        guards: list[Callback] = [rollback, ProgressiveUnfreezing(phases), monitor]
        memory = MemoryBudget(10**9) if split else MemoryBudget()
        plugins = [half()] if precision == "16-mixed" else []
        fit(folder, 4, memory, *guards, MixedPrecisionGuard(), model=model, plugins=plugins)
        assert monitor.alarms == {} or precision == "16-mixed"
        assert rollback.best_score is not None
        scores.append((rollback.best_score, rollback.rollbacks, weights(model)))
    close = {"rtol": 0.05, "atol": 0.02} if precision == "16-mixed" else {}
    assert scores[1][0] == pytest.approx(scores[0][0], rel=0.05)
    assert scores[1][1] == scores[0][1]
    assert_close(scores[1][2], scores[0][2], **close)


class Restless(Tiny):
    """Draws random numbers of all kinds, counts, and trains its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.count, self.seen = nn.Dropout(0.5), 0, []  # type: ignore[var-annotated]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.drop(self.body(x)))
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.count += 1
        self.seen.append(len(batch[0]))
        noise = random.random() + float(np.random.random())
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        assert self.trainer.max_epochs == 1
        return loss * (1 + noise)


def test_measuring_leaves_no_trace(tmp_path: Path) -> None:
    ends = []
    budget = MemoryBudget(10**9)
    for callbacks in ([], [budget]):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        model = Restless()
        run = fit(tmp_path, 1, *callbacks, model=model)
        ends.append(
            {
                "weights": model.state_dict(),
                "optimizer": run.optimizers[0].state_dict(),
                "attributes": [model.count, model.seen],
                "logged": dict(run.logged_metrics),
                "draws": [torch.rand(3), random.random(), float(np.random.random())],
            }
        )
    assert budget.micro_batch == ROWS
    assert same(*ends)


class Wide(Tiny):
    """Takes 400 kB a row in one layer, of which two values are kept."""

    def __init__(self, optimizer: Callable[..., Optimizer] = torch.optim.SGD) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.wide, self.end = nn.Linear(4, 100_000), nn.Linear(100_000, 3)
        self.kind = optimizer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.end(self.wide(x).exp())
        return out

    def configure_optimizers(self) -> Any:
        return self.kind(self.parameters(), lr=1e-9)


def probed(tmp_path: Path, model: Tiny, *callbacks: Callback, most: int = 10**12) -> list[Any]:
    """What a probe finds in the first step of a real run."""
    found: list[Any] = []

    class Probe(Callback):
        def on_train_batch_start(
            self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
        ) -> None:
            found.append(MemoryProbe(trainer, pl_module, batch, (0,)).largest_part(most, False))

    fit(tmp_path, 1, *callbacks, Probe(), model=model, limit_train_batches=1)
    return found[0]  # type: ignore[no-any-return]


def test_the_largest_part_that_fits_is_found(tmp_path: Path) -> None:
    rows, all_of_it = probed(tmp_path, Wide())
    assert rows == ROWS
    few, less = probed(tmp_path, Wide(), most=all_of_it - 1)
    assert few == 8
    assert all_of_it > less
    # activations and their gradient: what four rows more take
    assert (all_of_it - less) / 4 == pytest.approx(2 * 400_000, rel=0.3)
    assert probed(tmp_path, Wide(), most=less) == (8, less)
    nothing, least = probed(tmp_path, Wide(), most=1000)
    assert nothing == 0
    assert least < less


def test_states_of_the_optimizer_count(tmp_path: Path) -> None:
    size = sum(parameter.nbytes for parameter in Wide().parameters())
    plain, adam = (probed(tmp_path, Wide(kind))[1] for kind in (torch.optim.SGD, torch.optim.Adam))
    assert adam - plain == pytest.approx(2 * size, rel=0.01)


def test_the_last_phase_counts(tmp_path: Path) -> None:
    late = ProgressiveUnfreezing([Phase(0, ("end",)), Phase(5, ("wide",))])
    never = ProgressiveUnfreezing([Phase(0, ("end",))])
    size = Wide().wide.weight.nbytes
    assert probed(tmp_path, Wide(), late)[1] >= probed(tmp_path, Wide(), never)[1] + size


def test_a_budget_sets_the_parts_and_keeps_the_batch(tmp_path: Path) -> None:
    most = probed(tmp_path, Wide())[1]
    whole, model, budget = Wide(), Wide(), MemoryBudget(most - 1)
    run = fit(tmp_path, 1, model=whole)
    again = fit(tmp_path, 1, budget, model=model)
    assert budget.micro_batch == 8
    assert str(budget) == "batches of 12 in parts of 8"
    assert again.global_step == run.global_step
    assert float(again.callback_metrics["memory/micro_batch"]) == 8
    assert_close(weights(model), weights(whole))


@pytest.mark.parametrize(
    ("checked", "said"), [(0, "a training step on 2 of 12"), (1, "a validation step on 1 of 12")]
)
def test_a_budget_too_small_is_one_sentence(checked: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(
        MisconfigurationException, match=rf"{said} rows takes .* MB, 10 KB are allowed"
    ):
        fit(tmp_path, 1, MemoryBudget(10_000), model=Wide(), num_sanity_val_steps=checked)


def test_another_budget_is_measured_anew_and_the_same_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = probed(tmp_path, Wide())[1]
    run = fit(tmp_path, 1, MemoryBudget(10**9), model=Wide())
    run.save_checkpoint(tmp_path / "last.ckpt")
    tried: list[int] = []
    way = MemoryProbe.largest_part
    monkeypatch.setattr(MemoryProbe, "largest_part", lambda *a: tried.append(a[1]) or way(*a))
    same_budget = MemoryBudget(10**9)
    fit(tmp_path, 2, same_budget, model=Wide(), ckpt_path=tmp_path / "last.ckpt")
    assert (same_budget.micro_batch, tried) == (ROWS, [])
    less = MemoryBudget(most - 1)
    fit(tmp_path, 2, less, model=Wide(), ckpt_path=tmp_path / "last.ckpt")
    assert (less.micro_batch, tried) == (8, [most - 1])


def test_a_module_that_cannot_be_copied_is_trained_all_the_same(tmp_path: Path) -> None:
    class Unique(Tiny):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("cannot pickle a lock")

    with pytest.warns(UserWarning, match=r"could not be measured \(cannot pickle a lock\)"):
        fit(tmp_path, 1, MemoryBudget(10**9), model=Unique())


def test_a_budget_without_room_for_the_copy_is_one_sentence(tmp_path: Path) -> None:
    class Large(Tiny):
        def __deepcopy__(self, memo: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    with pytest.raises(
        MisconfigurationException, match=r"no room within 20 MB for a copy .*allow more"
    ):
        fit(tmp_path, 1, MemoryBudget(20_000_000), model=Large())
    with pytest.raises(
        MisconfigurationException, match=r"no room within 20 MB for a copy .*allow more"
    ):
        fit(tmp_path, 1, MemoryBudget(20_000_000), model=Large(), num_sanity_val_steps=0)


def test_batch_norms_in_training_mode_are_warned_of_once(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="batch norms in training mode see 4 rows") as said:
        fit(tmp_path, 1, MemoryBudget(micro_batch=4), model=Tiny())
    assert sum("batch norms" in str(warning.message) for warning in said) == 1


def test_steps_that_give_mappings_or_nothing(tmp_path: Path) -> None:
    class Telling(Frozen):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 1 else {"loss": loss, "rows": len(batch[0])}

    whole, split = (
        heard(tmp_path, Telling(), *callbacks, epochs=1)
        for callbacks in ([], [MemoryBudget(micro_batch=6)])
    )
    assert_close(split.gradients, whole.gradients)


def test_one_gradient_of_two_parameters_is_not_added_twice(tmp_path: Path) -> None:
    class Twins(Frozen):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = (nn.Parameter(torch.zeros(3)) for _ in range(2))

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            logits = self(batch[0]) + (self.one + self.other)
            return cross_entropy(logits, batch[1]) + self.one.sum() + self.other.sum()

    whole = heard(tmp_path, Twins())
    split = heard(tmp_path, Twins(), MemoryBudget(micro_batch=5))
    assert_close(split.gradients, whole.gradients)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"gpu_bytes": 0}, "gpu_bytes is above 0, not 0"),
        ({"micro_batch": 0}, "micro_batch is 1 or more, not 0"),
    ],
)
def test_what_cannot_be(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        MemoryBudget(**arguments)


def test_what_cannot_be_split(tmp_path: Path) -> None:
    class ByHand(Tiny):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            self.hand = batch_idx

    model = ByHand()
    model.automatic_optimization = False
    with pytest.raises(MisconfigurationException, match="optimizes by hand"):
        fit(tmp_path, 1, MemoryBudget(micro_batch=1), model=model)
    fit(tmp_path, 1, MemoryBudget(), model=model)


def test_amounts_of_memory() -> None:
    assert [say_memory(n) for n in (2_140_000_000, 12_300_000, 4_096, 10)] == [
        *("2.14 GB", "12.3 MB", "4.1 KB", "0.01 KB")
    ]
