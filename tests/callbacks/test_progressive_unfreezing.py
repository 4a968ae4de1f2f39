from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from callbacks import MetricRollback, Phase, ProgressiveUnfreezing, layerwise_groups
from tests.callbacks.tiny import Fault, Scripted, Tiny, data, fit, same, trainer

HEAD = Phase(0, ("head",))


class Grouped(Scripted):
    """All groups are there from the start."""

    def __init__(self, scores: list[float] | None = None, **options: Any) -> None:
        super().__init__(scores or [1.0], **options)

    def configure_optimizers(self) -> Any:
        groups = layerwise_groups(self, ["body.0", "body.1", "head"], 0.05, 0.5)
        optimizer = torch.optim.AdamW(groups)
        if self.schedule is None:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda e: 0.9**e)]


class Watch(Callback):
    """What trains in each epoch, seen in the middle of it."""

    def __init__(self) -> None:
        self.grads: list[set[str]] = []
        self.modes: list[set[str]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx != 1:
            return
        self.grads.append({n for n, p in pl_module.named_parameters() if p.requires_grad})
        self.modes.append({n for n, m in pl_module.named_modules() if n and m.training})


LINEAR = {"body.0.weight", "body.0.bias"}
NORM = {"body.1.weight", "body.1.bias"}
LAST = {"head.weight", "head.bias"}


def test_phases_thaw_gradients_and_modes_together(tmp_path: Path) -> None:
    watch = Watch()
    phases = [HEAD, Phase(1, ("body.0",)), Phase(2, ("body.1",), batch_norm="full")]
    fit(tmp_path, 3, ProgressiveUnfreezing(phases), watch, model=Grouped())
    assert watch.grads == [LAST, LAST | LINEAR, LAST | LINEAR | NORM]
    assert watch.modes == [
        {"head"},
        {"head", "body", "body.0"},
        {"head", "body", "body.0", "body.1"},
    ]


@pytest.mark.parametrize(
    ("policy", "statistics_move", "affine_moves"),
    [("frozen", False, False), ("statistics", True, False), ("full", True, True)],
)
def test_batch_norm_policies(
    policy: Any, statistics_move: bool, affine_moves: bool, tmp_path: Path
) -> None:
    model = Grouped()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    phases = [Phase(0, ("head", "body"), batch_norm=policy)]
    fit(tmp_path, 1, ProgressiveUnfreezing(phases), model=model)
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert ("body.1.running_mean" in moved) == statistics_move
    assert ("body.1.weight" in moved) == affine_moves
    assert "body.0.weight" in moved


def test_a_parameter_that_equals_another_trains(tmp_path: Path) -> None:
    """Lightning's filter takes it for one that the optimizer has."""
    model = Grouped()
    nn.init.zeros_(model.body[1].bias)
    model.head = nn.Linear(8, 8)
    nn.init.zeros_(model.head.bias)
    fit(
        tmp_path,
        2,
        ProgressiveUnfreezing([HEAD, Phase(1, ("body",), batch_norm="full")]),
        model=model,
    )
    assert model.body[1].bias.abs().sum() > 0
    assert model.head.bias.abs().sum() > 0


def test_frozen_weights_and_statistics_do_not_move(tmp_path: Path) -> None:
    model = Grouped()
    before = {k: v.clone() for k, v in model.body.state_dict().items()}
    fit(tmp_path, 2, ProgressiveUnfreezing([HEAD]), model=model)
    assert same(dict(model.body.state_dict()), before)


def test_a_call_of_train_in_the_module_is_undone(tmp_path: Path) -> None:
    class Careless(Grouped):
        def on_train_epoch_start(self) -> None:
            self.train()

    model = Careless()
    before = {k: v.clone() for k, v in model.body.state_dict().items()}
    with pytest.warns(UserWarning, match="evaluation mode again"):
        fit(tmp_path, 2, ProgressiveUnfreezing([HEAD]), model=model)
    assert same(dict(model.body.state_dict()), before)


class Scaled(Grouped):
    """With a parameter on the module itself."""

    def __init__(self, scores: list[float] | None = None, **options: Any) -> None:
        super().__init__(scores, **options)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self.scale


@pytest.mark.parametrize(
    ("patterns", "trains"),
    [
        (("*",), {"scale"} | LINEAR | LAST),
        (("scale", "head"), {"scale"} | LAST),
        (("scale",), {"scale"}),
        (("head.bias",), {"head.bias"}),
    ],
)
def test_a_pattern_names_parameters_too(
    patterns: tuple[str, ...], trains: set[str], tmp_path: Path
) -> None:
    watch, model = Watch(), Scaled()
    before = {k: v.clone() for k, v in model.named_parameters()}
    fit(tmp_path, 1, ProgressiveUnfreezing([Phase(0, patterns)]), watch, model=model)
    assert watch.grads == [trains]
    assert {k for k, v in model.named_parameters() if not torch.equal(v, before[k])} == trains
    assert watch.modes[0] >= {name.rpartition(".")[0] for name in trains} - {""}


def test_a_parameter_of_a_norm_is_named(tmp_path: Path) -> None:
    watch, phases = Watch(), [HEAD, Phase(1, ("body.1.weight",), "full")]
    fit(tmp_path, 2, ProgressiveUnfreezing(phases), watch, model=Grouped())
    assert "body.1.weight" in watch.grads[1]
    assert "body.1" in watch.modes[1]
    assert "body.1.bias" not in watch.grads[1]


@pytest.mark.parametrize("policy", ["frozen", "statistics"])
def test_a_parameter_of_a_norm_that_its_policy_does_not_train(policy: Any, tmp_path: Path) -> None:
    phases = [HEAD, Phase(1, ("body.1.weight",), policy)]
    with pytest.raises(MisconfigurationException, match=r"'body.1.weight' .* does not train"):
        fit(tmp_path, 2, ProgressiveUnfreezing(phases), model=Grouped())


def test_a_parameter_of_two_names_is_found_by_either(tmp_path: Path) -> None:
    model, watch = Grouped(), Watch()
    model.head.second = model.head.weight
    fit(tmp_path, 1, ProgressiveUnfreezing([Phase(0, ("head.second",))]), watch, model=model)
    assert watch.grads[0] == {"head.weight"}


class NormWithChild(nn.BatchNorm1d):
    """As timm has them."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.act(super().forward(x))
        return out


@pytest.mark.parametrize("policy", ["frozen", "statistics"])
def test_a_norm_that_holds_an_activation_keeps_its_policy(policy: Any, tmp_path: Path) -> None:
    watch, model = Watch(), Grouped()
    model.body[1] = NormWithChild(8)
    fit(tmp_path, 1, ProgressiveUnfreezing([Phase(0, ("*",), policy)]), watch, model=model)
    assert watch.modes[0] >= {"head", "body", "body.0", "body.1.act"}
    assert ("body.1" in watch.modes[0]) == (policy == "statistics")


def test_a_parameter_of_the_module_itself_freezes_again_and_resumes(tmp_path: Path) -> None:
    def run(folder: Path, scores: list[float], ckpt: Path | None = None) -> tuple[Tiny, list[bool]]:
        watch, model = Watch(), Scaled(scores)
        fit(
            folder,
            4,
            MetricRollback("score", refreeze=True),
            ProgressiveUnfreezing([HEAD, Phase(1, ("scale",))]),
            ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True),
            watch,
            model=model,
            enable_checkpointing=True,
            ckpt_path=ckpt,
            num_sanity_val_steps=0,
        )
        return model, ["scale" in grads for grads in watch.grads]

    whole, trains = run(tmp_path / "whole", [1.0, 0.9, 2.0, 0.8])
    assert trains == [False, True, True, False]
    again, seen = run(tmp_path / "again", [0.8], tmp_path / "whole" / "epoch=2.ckpt")
    assert seen == trains[3:]
    assert same(again.state_dict(), whole.state_dict())


@pytest.mark.parametrize("data_too", [True, False], ids=["limited", "none"])
def test_a_plateau_without_validation_is_refused(data_too: bool, tmp_path: Path) -> None:
    phases = [HEAD, Phase("plateau", ("body",))]
    run = trainer(tmp_path, 1, [ProgressiveUnfreezing(phases, "score")], limit_val_batches=0)
    with pytest.raises(
        MisconfigurationException, match="needs a validation loop that logs 'score'"
    ):
        run.fit(Grouped(), data(1), data(2) if data_too else None)


def test_epochs_alone_need_no_validation(tmp_path: Path) -> None:
    unfreezing = ProgressiveUnfreezing([HEAD, Phase(1, ("body",))], "score")
    fit(tmp_path, 2, unfreezing, model=Grouped(), limit_val_batches=0)
    assert unfreezing.phase == 1


def test_plateau(tmp_path: Path) -> None:
    watch = Watch()
    phases = [HEAD, Phase("plateau", ("body.0",)), Phase("plateau", ("body",))]
    unfreezing = ProgressiveUnfreezing(phases, "score", patience=2)
    model = Grouped([3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0])
    fit(tmp_path, 7, unfreezing, watch, model=model)
    assert [grads >= LINEAR for grads in watch.grads] == [False] * 4 + [True] * 3
    assert unfreezing.phase == 1


def test_an_epoch_does_not_wait_for_a_plateau(tmp_path: Path) -> None:
    unfreezing = ProgressiveUnfreezing(
        [HEAD, Phase("plateau", ("body.0",)), Phase(2, ("body",))], "score"
    )
    fit(tmp_path, 3, unfreezing, model=Grouped([3.0, 2.0, 1.0]))
    assert unfreezing.phase == 2


def _rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("schedule", [None, "lambda"])
def test_warm_up_lowers_only_the_rate_of_what_is_new_and_only_in_the_step(
    schedule: str | None, tmp_path: Path
) -> None:
    used: list[list[float]] = []
    between: list[list[float]] = []

    class Look(Callback):
        def on_before_optimizer_step(
            self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
        ) -> None:
            used.append(_rates(optimizer))

        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            between.append(_rates(trainer.optimizers[0]))

    phases = [HEAD, Phase(1, ("body.0",), warmup_steps=3)]
    fit(tmp_path, 2, ProgressiveUnfreezing(phases), Look(), model=Grouped(schedule=schedule))
    decay = 0.9 if schedule else 1
    full = [0.0125 * decay, 0.025 * decay, 0.05 * decay]
    assert between[4:] == [pytest.approx(full)] * 4
    assert [rates[0] for rates in used[4:]] == pytest.approx(
        [full[0] * k for k in (0.25, 0.5, 0.75, 1)]
    )
    assert [rates[2] for rates in used[4:]] == pytest.approx([full[2]] * 4)
    assert used[:4] == between[:4]


@pytest.mark.parametrize("schedule", [None, "lambda"])
@pytest.mark.parametrize("plateau", [False, True])
def test_a_resumed_run_is_the_same_to_the_bit(
    schedule: str | None, plateau: bool, tmp_path: Path
) -> None:
    """Across the border of a phase, and across a rollback over it."""

    def run(folder: Path, ckpt: Path | None = None) -> tuple[Tiny, ProgressiveUnfreezing, Watch]:
        watch, at = Watch(), "plateau" if plateau else 2
        model = Grouped(schedule=schedule)
        model.validation_step = Tiny.validation_step.__get__(model)  # type: ignore[method-assign]
        unfreezing = ProgressiveUnfreezing(
            [HEAD, Phase(at, ("body",), "full", warmup_steps=6)],  # type: ignore[arg-type]
            "val_loss",
            patience=1,
            min_delta=0.05,
        )
        keep = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        rollback = MetricRollback("val_loss", max_rollbacks=9)
        fit(
            folder,
            6,
            *(Fault("nan", 3), unfreezing, rollback, keep, watch),
            model=model,
            enable_checkpointing=True,
            ckpt_path=ckpt,
            num_sanity_val_steps=0,
        )
        assert rollback.rollbacks >= 1
        return model, unfreezing, watch

    model, unfreezing, watch = run(tmp_path / "whole")
    assert watch.grads[-1] >= LINEAR
    assert not watch.grads[0] >= LINEAR
    for epoch in range(5):
        again, resumed, seen = run(
            tmp_path / f"from{epoch}", tmp_path / "whole" / f"epoch={epoch}.ckpt"
        )
        assert same(again.state_dict(), model.state_dict()), epoch
        assert same(resumed.state_dict(), unfreezing.state_dict()), epoch
        assert seen.grads == watch.grads[epoch + 1 :]
        assert seen.modes == watch.modes[epoch + 1 :]


class Trains(Callback):
    """The epoch of each batch, and whether the body trained in it."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bool]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        trains = pl_module.get_parameter("body.0.weight").requires_grad
        self.seen.append((trainer.current_epoch, trains))


def _saved_after(steps: int, folder: Path) -> ModelCheckpoint:
    """``step=N.ckpt`` after every so many steps."""
    return ModelCheckpoint(
        dirpath=folder,
        filename="{step}",
        every_n_train_steps=steps,
        save_top_k=-1,
        save_on_train_epoch_end=False,
    )


def test_nothing_thaws_in_the_middle_of_an_epoch_that_is_continued(tmp_path: Path) -> None:
    """Where a plateau was found in an epoch, the next phase is that of the next epoch."""

    def run(*more: Callback, **options: Any) -> list[tuple[int, bool]]:
        phases = [HEAD, Phase("plateau", ("body.0",))]
        unfreezing, trains = ProgressiveUnfreezing(phases, monitor="score", patience=1), Trains()
        # scores get no better within an epoch
        model = Grouped([1.0, 1.0])
        fit(tmp_path, 2, unfreezing, trains, *more, model=model, val_check_interval=1, **options)
        return trains.seen

    whole = run(_saved_after(3, tmp_path), enable_checkpointing=True)
    assert whole == [*((0, False),) * 4, *((1, True),) * 4]
    assert run(ckpt_path=tmp_path / "step=3.ckpt") == whole[3:]


@pytest.mark.parametrize("at", [4, 6])
@pytest.mark.parametrize("known", [True, False])
def test_a_run_that_is_continued_is_in_the_phase_of_its_epoch(
    at: int, known: bool, tmp_path: Path
) -> None:
    """From the last batch of an epoch, and where the checkpoint does not know the callback."""
    phases, trains = [HEAD, Phase(1, ("body.0",))], Trains()
    first = [ProgressiveUnfreezing(phases)] if known else []
    saves, options = _saved_after(2, tmp_path), {"enable_checkpointing": True}
    fit(tmp_path, 2, *first, saves, model=Grouped([1.0, 1.0]), **options)
    path = tmp_path / f"step={at}.ckpt"
    fit(tmp_path, 2, ProgressiveUnfreezing(phases), trains, model=Grouped([1.0]), ckpt_path=path)
    assert trains.seen == [(1, True)] * (8 - at)


class Two(Tiny):
    """An optimizer of the body and one of the head."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.step()
            optimizer.zero_grad()
        return loss

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(m.parameters(), lr=0.1) for m in (self.body, self.head)]


def test_an_optimizer_that_has_nothing_to_train_in_a_phase_is_warned_of(tmp_path: Path) -> None:
    phases = [HEAD, Phase(1, ("body",), "full")]
    with pytest.warns(UserWarning, match="optimizer 0 has nothing to train in phase 0") as warned:
        fit(tmp_path, 1, ProgressiveUnfreezing(phases), model=Two())
    assert sum("nothing to train" in str(each.message) for each in warned) == 1


def test_of_two_optimizers_only_that_of_what_is_new_warms_up(tmp_path: Path) -> None:
    rates: list[float] = []
    phases = [Phase(0, ("head",), warmup_steps=3)]

    class Late(Callback):
        """Sees the rates after the warm-up has set them."""

        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            head = trainer.optimizers[1]
            head.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))

    fit(tmp_path, 1, ProgressiveUnfreezing(phases), Late(), model=Two())
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1])


def test_a_rollback_can_freeze_the_last_phase_again(tmp_path: Path) -> None:
    watch = Watch()
    unfreezing = ProgressiveUnfreezing([HEAD, Phase(1, ("body.0",))])
    fit(
        tmp_path,
        4,
        *(MetricRollback("score", refreeze=True), unfreezing, watch),
        model=Grouped([1.0, 2.0, 0.9, 0.8]),
    )
    assert [grads >= LINEAR for grads in watch.grads] == [False, True, False, False]
    assert unfreezing.phase == 0


def test_a_frozen_parameter_keeps_no_gradient(tmp_path: Path) -> None:
    model = Grouped()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {k: v.clone() for k, v in model.body.state_dict().items()}
    fit(tmp_path, 1, ProgressiveUnfreezing([HEAD]), model=model)
    assert same(dict(model.body.state_dict()), before)


def test_state_round_trip(tmp_path: Path) -> None:
    one = ProgressiveUnfreezing([HEAD, Phase("plateau", ("body",))], "score", patience=1)
    fit(tmp_path, 3, one, model=Grouped([1.0, 2.0, 0.5]))
    torch.save(one.state_dict(), tmp_path / "s.pt")
    two = ProgressiveUnfreezing([HEAD, Phase("plateau", ("body",))], "score", patience=1)
    two.load_state_dict(torch.load(tmp_path / "s.pt", weights_only=True))
    assert two.state_dict() == one.state_dict()
    assert two.phase == 1


def test_hooks_are_gone_after_the_fit(tmp_path: Path) -> None:
    run = fit(tmp_path, 1, ProgressiveUnfreezing([HEAD]), model=Grouped())
    optimizer = run.optimizers[0]
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_a_parameter_that_no_group_holds_is_named(tmp_path: Path) -> None:
    class Forgetful(Grouped):
        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.head.parameters())

    with pytest.raises(MisconfigurationException, match=r"'body\.0\.weight' 0 times"):
        fit(tmp_path, 1, ProgressiveUnfreezing([HEAD, Phase(1, ("body",))]), model=Forgetful())


def test_a_warm_up_needs_groups_of_its_own(tmp_path: Path) -> None:
    phases = [HEAD, Phase(1, ("body",), warmup_steps=2)]
    with pytest.raises(MisconfigurationException, match="split the groups"):
        fit(tmp_path, 1, ProgressiveUnfreezing(phases), model=Scripted([1.0]))


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([HEAD, Phase(1, ("nope",))], "'nope'"),
        ([Phase(0, ("body.2",))], "trains no parameter"),
    ],
)
def test_patterns_that_cannot_be_meant(phases: list[Phase], message: str, tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        fit(tmp_path, 1, ProgressiveUnfreezing(phases), model=Grouped())


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], "first phase"),
        ([Phase(1, ("a",))], "first phase"),
        ([HEAD, Phase(3, ("a",)), Phase(2, ("b",))], "one after another"),
        ([HEAD, Phase("plateau", ("a",))], "monitor"),
    ],
)
def test_phases_out_of_order(phases: list[Phase], message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        ProgressiveUnfreezing(phases)


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": -1},
        {"at": "soon"},
        {"patterns": ()},
        {"patterns": "head"},
        {"batch_norm": "stats"},
        {"warmup_steps": -1},
    ],
)
def test_a_phase_without_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).rstrip("s")):
        Phase(**{"at": 0, "patterns": ("a",), **wrong})


def test_several_processes_are_refused(tmp_path: Path) -> None:
    class Many:
        world_size = 2

    with pytest.raises(MisconfigurationException, match="devices=1"):
        ProgressiveUnfreezing([HEAD]).setup(Many(), Grouped(), "fit")  # type: ignore[arg-type]
