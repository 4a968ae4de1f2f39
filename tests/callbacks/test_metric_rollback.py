from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision

from callbacks import CheckpointVersions, MetricRollback
from tests.callbacks.tiny import Fault, Scripted, Tiny, data, fit, loss_of, same, trainer
from tests.forked import begin

NAN = float("nan")
FAULTS = ("rate", "nan", "labels", "inf")
TRIALS = 20
KILLS = 20


def events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "rollbacks.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("kind", FAULTS)
def test_no_fault_lowers_the_final_score(kind: str, tmp_path: Path) -> None:
    """Twenty seeded trials a fault, at any place, the last epoch included."""
    tolerance, undone = 0.01, 0
    for seed in range(TRIALS):
        fault = Fault(kind, epoch=1 + seed % 4, batch=seed % 4)
        model = Tiny(seed)
        rollback = MetricRollback("val_loss", tolerance=tolerance, dirpath=tmp_path / str(seed))
        fit(tmp_path, 5, fault, rollback, model=model)
        assert math.isfinite(fault.before)
        assert loss_of(model) <= fault.before + tolerance, seed
        assert loss_of(model) == pytest.approx(rollback.best_score, abs=1e-5)
        path = tmp_path / str(seed) / "last_good.ckpt"
        model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        assert loss_of(model) == pytest.approx(rollback.best_score, abs=1e-5)
        undone += bool(rollback.rollbacks)
    # Lightning's own way takes long where calls are nested deeply
    assert same(dict(Tiny.load_from_checkpoint(path).state_dict()), dict(model.state_dict()))
    assert undone >= (TRIALS if kind in ("nan", "inf") else TRIALS // 2)


def test_without_it_the_same_faults_ruin_the_run(tmp_path: Path) -> None:
    for kind in ("rate", "nan", "inf"):
        fault, model = Fault(kind, epoch=4), Tiny()
        fit(tmp_path, 5, fault, model=model)
        assert not loss_of(model) <= fault.before + 0.01, kind


def test_nothing_else_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Scripted([1.0, 5.0, 0.5])
    run = Trainer(max_epochs=3, accelerator="cpu", callbacks=[MetricRollback("score")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.fit(model, data(1), data(2))
    assert len(events(Path(str(run.log_dir)))) == 1


def test_weights_go_back_before_the_next_epoch(tmp_path: Path) -> None:
    started: list[dict[str, torch.Tensor]] = []

    class Look(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 0:
                started.append({k: v.clone() for k, v in pl_module.state_dict().items()})

    model = Scripted([1.0, 0.9, 2.0, 0.8])
    rollback = MetricRollback("score")
    run = fit(tmp_path, 4, rollback, Look(), model=model)
    assert same(started[3], model.seen[1])
    assert same(started[2], model.seen[1])
    assert same(model.state_dict(), model.seen[3])
    # the loops are not rewound
    assert (run.current_epoch, run.global_step) == (4, 16)
    assert rollback.rollbacks == 1
    (event,) = events(tmp_path)
    assert event["event"] == "rollback"
    assert (event["from"], event["to"], event["to_epoch"], event["count"]) == (
        2.0,
        pytest.approx(0.9),
        1,
        1,
    )
    assert event["lr"] == [pytest.approx(0.05)]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_best_weights_after_fit_whether_or_not_the_last_epoch_regressed(
    mode: str, tmp_path: Path
) -> None:
    sign = 1 if mode == "min" else -1
    for last in (0.55, 3.0, NAN):
        model = Scripted([sign * s for s in (1.0, 0.5, last)])
        rollback = MetricRollback("score", mode, tolerance=0.1)  # type: ignore[arg-type]
        fit(tmp_path, 3, rollback, model=model)
        assert same(model.state_dict(), model.seen[1])
        assert rollback.rollbacks == (last != 0.55)


def test_a_worse_score_within_tolerance_is_no_new_best(tmp_path: Path) -> None:
    rollback = MetricRollback("score", tolerance=0.25)
    model = Scripted([1.0, 1.2, 1.24, 1.26])
    fit(tmp_path, 4, rollback, model=model)
    assert rollback.best_score == 1.0
    assert rollback.rollbacks == 1
    assert same(model.state_dict(), model.seen[0])


@pytest.mark.parametrize("schedule", [None, "lambda", "cosine", "onecycle", "sequential"])
def test_rates_shrink_each_time_and_stay_small(schedule: str | None, tmp_path: Path) -> None:
    def rates(scores: list[float], folder: str) -> list[float]:
        found = []

        class Look(Callback):
            def on_train_batch_start(
                self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
            ) -> None:
                if batch_idx == 0:
                    found.append(trainer.optimizers[0].param_groups[0]["lr"])

        rollback = MetricRollback("score", lr_factor=0.1, max_rollbacks=9)
        model = Scripted(scores, schedule=schedule)
        fit(tmp_path / folder, len(scores), rollback, Look(), model=model)
        return found

    # epochs 2 and 3 start from the snapshot of epoch 0, as epoch 1 did; 4 and 5 go on from there
    usual = rates([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], "usual")
    ours = rates([6.0, 7.0, 7.0, 5.0, 4.0, 3.0], "ours")
    expected = [
        *(usual[0], usual[1], usual[1] * 0.1, usual[1] * 0.01),
        *(usual[2] * 0.01, usual[3] * 0.01),
    ]
    assert ours == pytest.approx(expected)


def test_optimizer_and_scaler_go_back(tmp_path: Path) -> None:
    states: list[Any] = []

    class Look(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            scaler = trainer.precision_plugin.state_dict()
            states.append((_moments(trainer), scaler["scale"]))

        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 0 and trainer.current_epoch == 2:
                states.append((_moments(trainer), trainer.precision_plugin.state_dict()["scale"]))

    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", growth_interval=3))
    fit(
        tmp_path,
        3,
        MetricRollback("score"),
        Look(),
        model=Scripted([1.0, 2.0, 3.0]),
        plugins=[plugin],
        num_sanity_val_steps=0,
    )
    first, second, restarted = states[:3]
    assert same(restarted, first)
    assert not same(first, second)
    assert first[1] != second[1]


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_every_rollback_brings_back_the_same(kind: str, tmp_path: Path) -> None:
    """An optimizer that took the snapshot's own tensors would write into it."""
    states: list[Any] = []

    class Momentum(Scripted):
        def configure_optimizers(self) -> Any:
            if kind == "SGD":
                return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
            return torch.optim.AdamW(self.parameters(), lr=0.1)

    class Look(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 0 and trainer.current_epoch > 1:
                states.append(_moments(trainer))

    scores = [1.0, 2.0, 3.0, 4.0]
    fit(tmp_path, 4, MetricRollback("score", lr_factor=1.0), Look(), model=Momentum(scores))
    # after the rollbacks of epochs 1 and 2
    assert same(states[0], states[1])


def _moments(trainer: Trainer) -> Any:
    state = trainer.optimizers[0].state_dict()["state"]
    return {n: {k: v.clone() for k, v in values.items()} for n, values in state.items()}


def test_an_overflow_that_the_scaler_skips_is_no_fault(tmp_path: Path) -> None:
    rollback = MetricRollback("val_loss", tolerance=9)
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**30))
    fit(tmp_path, 3, rollback, model=Tiny(), plugins=[plugin])
    assert rollback.rollbacks == 0


def test_a_stop_after_max_rollbacks(tmp_path: Path) -> None:
    model = Scripted([1.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    rollback = MetricRollback("score", max_rollbacks=2)
    run = fit(tmp_path, 6, rollback, model=model)
    assert run.current_epoch == 4
    assert [event["event"] for event in events(tmp_path)] == ["rollback", "rollback", "stop"]
    assert rollback.rollbacks == 2
    assert same(model.state_dict(), model.seen[0])


@pytest.mark.parametrize("options", [{"min_epochs": 5}, {"min_steps": 20}])
def test_a_stop_that_has_to_wait_rolls_back_with_smaller_rates(
    options: dict[str, int], tmp_path: Path
) -> None:
    model = Scripted([1.0, 2.0, 2.0, 2.0, 2.0])
    rollback = MetricRollback("score", max_rollbacks=1, lr_factor=0.5)
    run = fit(tmp_path, 9, rollback, model=model, **options)
    assert run.current_epoch == 5
    assert same(model.state_dict(), model.seen[0])
    found = [(event["event"], event["lr"]) for event in events(tmp_path)]
    assert found == [
        ("rollback", [pytest.approx(0.05)]),
        ("rollback", [pytest.approx(0.025)]),
        ("rollback", [pytest.approx(0.0125)]),
        ("stop", [pytest.approx(0.0125)]),
    ]
    assert rollback.rollbacks == 3


def test_a_stop_that_has_to_wait_keeps_what_got_better_meanwhile(tmp_path: Path) -> None:
    model = Scripted([1.0, 2.0, 0.5, 3.0])
    fit(tmp_path, 9, MetricRollback("score", max_rollbacks=0), model=model, min_epochs=4)
    assert same(model.state_dict(), model.seen[2])
    assert [event["event"] for event in events(tmp_path)] == ["rollback", "stop"]


def test_a_run_that_was_stopped_stays_so_when_it_is_continued(tmp_path: Path) -> None:
    def run(ckpt: Path | None = None) -> tuple[Trainer, Scripted]:
        model = Scripted([1.0, 2.0, 2.0, 2.0])
        guards = (MetricRollback("score", max_rollbacks=0), _all_epochs(tmp_path))
        options = {"enable_checkpointing": True, "ckpt_path": ckpt}
        return fit(tmp_path, 4, *guards, model=model, **options), model

    whole, model = run()
    resumed, again = run(tmp_path / "epoch=1.ckpt")
    assert (resumed.current_epoch, resumed.global_step) == (whole.current_epoch, 8)
    assert same(again.state_dict(), model.state_dict())
    assert [event["event"] for event in events(tmp_path)] == ["stop", "stop"]


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_stop_that_has_to_wait_ends_a_continued_run_as_early(epoch: int, tmp_path: Path) -> None:
    def run(ckpt: Path | None = None) -> int:
        guards = (MetricRollback("score", max_rollbacks=0), _all_epochs(tmp_path))
        options = {"enable_checkpointing": True, "ckpt_path": ckpt, "min_epochs": 4}
        model = Scripted([1.0, 2.0, 0.5, 0.4, 0.3, 0.2])
        return int(fit(tmp_path, 6, *guards, model=model, **options).current_epoch)

    assert run() == 4
    assert run(tmp_path / f"epoch={epoch}.ckpt") == 4


def test_a_start_that_is_scored_is_what_a_run_falls_back_to(tmp_path: Path) -> None:
    model = Tiny()
    fit(tmp_path, 5, model=model)
    start, model.rate = loss_of(model), 50.0
    rollback = MetricRollback("val_loss", dirpath=tmp_path, lr_factor=1.0)
    fit(tmp_path, 3, rollback, model=model, num_sanity_val_steps=-1)
    assert rollback.best_score == pytest.approx(start, abs=1e-5)
    assert loss_of(model) == pytest.approx(start, abs=1e-5)
    assert events(tmp_path)[0]["to"] == pytest.approx(start, abs=1e-5)
    assert events(tmp_path)[0]["to_epoch"] is None
    assert rollback.start_is_best


def test_a_module_that_logs_nothing_in_the_sanity_check(tmp_path: Path) -> None:
    class Silent(Tiny):
        def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
            if not self.trainer.sanity_checking:
                super().validation_step(batch, batch_idx)

    rollback = MetricRollback("val_loss", dirpath=tmp_path)
    fit(tmp_path, 2, rollback, model=Silent(), num_sanity_val_steps=-1)
    assert rollback.best_score is not None
    assert not rollback.start_is_best


def test_a_start_that_is_scored_in_part_is_no_score(tmp_path: Path) -> None:
    model = Tiny()
    fit(tmp_path, 5, model=model)
    start, model.rate = loss_of(model), 50.0
    rollback = MetricRollback("val_loss", dirpath=tmp_path)
    fit(tmp_path, 1, rollback, model=model, num_sanity_val_steps=1)
    assert rollback.best_score is not None
    assert rollback.best_score > start


def test_cooldown_tolerates_regressions_but_nothing_non_finite(tmp_path: Path) -> None:
    rollback = MetricRollback("score", cooldown=2, max_rollbacks=9)
    fit(tmp_path, 5, rollback, model=Scripted([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert rollback.rollbacks == 2
    rollback = MetricRollback("score", cooldown=2, max_rollbacks=9)
    fit(tmp_path, 5, rollback, model=Scripted([1.0, 2.0, NAN, 4.0, 5.0]))
    assert rollback.rollbacks == 2
    assert [event["epoch"] for event in events(tmp_path)] == [1, 4, 1, 2]


@pytest.mark.parametrize("checked", [True, False])
def test_a_nan_in_the_first_epoch_goes_back_to_the_start(checked: bool, tmp_path: Path) -> None:
    for kind in ("nan", "inf"):
        model = Tiny()
        rollback = MetricRollback("val_loss", dirpath=tmp_path / kind)
        sanity = 2 if checked else 0
        fit(tmp_path, 3, Fault(kind, 0), rollback, model=model, num_sanity_val_steps=sanity)
        assert rollback.rollbacks == 1
        assert loss_of(model) == pytest.approx(rollback.best_score, abs=1e-5)
        assert events(tmp_path / kind)[0]["to"] is None


def test_a_run_that_is_nan_from_end_to_end_leaves_the_start(tmp_path: Path) -> None:
    model, start = Scripted([NAN] * 3), Scripted([NAN])
    fit(tmp_path, 3, MetricRollback("score"), model=model)
    assert same(model.state_dict(), start.state_dict())


class Silent(Scripted):
    """Its score tells nothing of its weights."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        here = (self.current_epoch, batch_idx) == (1, 1)
        return loss * NAN if here else loss


def test_a_nan_loss_counts_when_the_metric_looks_fine(tmp_path: Path) -> None:
    # the scaler skips the step, so that the weights stay finite too
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    rollback = MetricRollback("score")
    model = Silent([3.0, 2.0, 1.0])
    fit(tmp_path, 3, rollback, model=model, plugins=[plugin])
    (event,) = events(tmp_path)
    assert "training loss" in event["reason"]
    assert event["epoch"] == 1
    assert event["to"] == 3.0


def test_weights_that_are_not_finite_never_become_a_snapshot(tmp_path: Path) -> None:
    model = Scripted([3.0, 2.0, 1.0])
    fit(tmp_path, 2, Fault("inf", 1, batch=3), rollback := MetricRollback("score"), model=model)
    assert rollback.best_score == 3.0
    assert same(model.state_dict(), model.seen[0])
    assert "weights" in events(tmp_path)[0]["reason"]
    saved = torch.load(tmp_path / "last_good.ckpt", weights_only=True)
    assert same(saved["state_dict"], model.seen[0])


def test_buffers_of_batch_norm_count_as_weights(tmp_path: Path) -> None:
    class Poison(Callback):
        def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 1 and not trainer.sanity_checking:
                pl_module.get_buffer("body.1.running_var").fill_(NAN)

    model = Scripted([3.0, 2.0])
    fit(tmp_path, 2, Poison(), MetricRollback("score"), model=model)
    assert same(model.state_dict(), model.seen[0])


def test_a_buffer_that_is_infinite_by_design_is_left_in_peace(tmp_path: Path) -> None:
    model = Scripted([3.0, 2.0])
    model.register_buffer("mask", torch.tensor([0.0, -math.inf]))
    fit(tmp_path, 2, rollback := MetricRollback("score"), model=model)
    assert rollback.rollbacks == 0


def test_a_loss_is_not_waited_for_until_validation(tmp_path: Path) -> None:
    first = []

    class Look(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            first.append(all(p.isfinite().all() for p in pl_module.parameters()))

    rollback = MetricRollback("val_loss", check_every_n_steps=1)
    fit(tmp_path, 2, Fault("nan", 1, batch=0), rollback, Look(), model=Tiny())
    assert all(first)
    assert rollback.rollbacks == 1


def test_several_validations_an_epoch(tmp_path: Path) -> None:
    rollback = MetricRollback("score", max_rollbacks=9)
    model = Scripted([3.0, 2.0, 2.5, 1.5, 1.8, 1.9])
    fit(tmp_path, 3, rollback, model=model, val_check_interval=0.5)
    assert model.validations == 6
    assert [event["epoch"] for event in events(tmp_path)] == [1, 2, 2]
    assert same(model.state_dict(), model.seen[3])


@pytest.mark.parametrize("kind", FAULTS)
def test_accumulation(kind: str, tmp_path: Path) -> None:
    model, fault = Tiny(), Fault(kind, 2)
    rollback = MetricRollback("val_loss", tolerance=0.01, check_every_n_steps=1)
    fit(tmp_path, 4, fault, rollback, model=model, accumulate_grad_batches=3)
    assert loss_of(model) <= fault.before + 0.01


def test_early_stopping_leaves_the_best_weights(tmp_path: Path) -> None:
    model = Scripted([1.0, 1.1, 1.1, 1.1, 1.1, 1.1])
    stop = EarlyStopping("score", patience=2, check_finite=False)
    run = fit(tmp_path, 6, MetricRollback("score", tolerance=1), stop, model=model)
    assert run.current_epoch == 3
    assert same(model.state_dict(), model.seen[0])


def test_early_stopping_with_check_finite_is_warned_of(tmp_path: Path) -> None:
    model = Scripted([1.0, NAN, 0.5])
    with pytest.warns(UserWarning, match="check_finite=False"):
        fit(tmp_path, 3, EarlyStopping("score"), MetricRollback("score"), model=model)
    assert same(model.state_dict(), model.seen[0])


def test_ctrl_c_leaves_the_best_weights(tmp_path: Path) -> None:
    class Interrupt(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, *rest: Any
        ) -> None:
            if trainer.current_epoch == 2:
                raise KeyboardInterrupt

    model = Scripted([1.0, 1.1, 1.1])
    with pytest.raises(SystemExit):
        fit(tmp_path, 3, MetricRollback("score", tolerance=1), Interrupt(), model=model)
    assert same(model.state_dict(), model.seen[0])


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_an_average_of_weights_goes_back_with_them(first: bool, tmp_path: Path) -> None:
    found: list[Any] = []

    class Look(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            found.append(self._now(pl_module))

        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 0 and trainer.current_epoch == 2:
                found.append(self._now(pl_module))

        def _now(self, module: LightningModule) -> Any:
            average = ema._average_model
            assert average is not None
            return [
                {k: v.clone() for k, v in m.state_dict().items()} for m in (module, average.module)
            ]

    ema = EMAWeightAveraging(decay=0.5)
    rollback = MetricRollback("score")
    ours = [rollback, ema] if first else [ema, rollback]
    model = Scripted([1.0, 2.0, 3.0])
    fit(tmp_path, 3, *ours, Look(), model=model, num_sanity_val_steps=0)
    live, average = found[0]
    assert not same(live, average)
    assert same(found[2], [live, average])
    # what was scored is the average
    assert same(model.state_dict(), average)


def test_checkpoints_keep_the_weights_of_their_score(tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, "{epoch}", monitor="score", save_top_k=-1)
    model = Scripted([1.0, 2.0, 0.5])
    fit(tmp_path, 3, MetricRollback("score"), keep, model=model, enable_checkpointing=True)
    for epoch in range(3):
        saved = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)
        assert same(saved["state_dict"], model.seen[epoch])


def _all_epochs(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("schedule", [None, "lambda"])
def test_a_resumed_run_is_the_same_to_the_bit(
    kind: str, schedule: str | None, tmp_path: Path
) -> None:
    def run(folder: Path, ckpt: Path | None = None) -> tuple[Tiny, MetricRollback]:
        model = Tiny(5, schedule=schedule)
        rollback = MetricRollback("val_loss", max_rollbacks=9)
        fit(
            folder,
            5,
            Fault(kind, 2),
            rollback,
            _all_epochs(folder),
            model=model,
            enable_checkpointing=True,
            ckpt_path=ckpt,
            num_sanity_val_steps=0,
        )
        return model, rollback

    model, rollback = run(tmp_path / "whole")
    assert rollback.rollbacks >= 1
    for epoch in (1, 2, 3, 4):
        again, resumed = run(tmp_path / f"from{epoch}", tmp_path / "whole" / f"epoch={epoch}.ckpt")
        assert same(again.state_dict(), model.state_dict()), epoch
        assert same(resumed.state_dict(), rollback.state_dict()), epoch


@pytest.mark.parametrize("file", ["there", "gone", "damaged"])
def test_a_checkpoint_alone_is_enough_to_resume(file: str, tmp_path: Path) -> None:
    def run(ckpt: Path | None = None) -> Tiny:
        model, rollback = Tiny(5), MetricRollback("val_loss", dirpath=tmp_path)
        keep = _all_epochs(tmp_path)
        guards = (Fault("nan", 2), rollback, keep)
        fit(tmp_path, 4, *guards, model=model, enable_checkpointing=True, ckpt_path=ckpt)
        assert rollback.rollbacks == 1
        return model

    whole = run()
    snapshot = tmp_path / "last_good.ckpt"
    if file == "gone":
        snapshot.unlink()
    if file == "damaged":
        snapshot.write_bytes(b"half")
    again = run(tmp_path / "epoch=1.ckpt")
    assert same(again.state_dict(), whole.state_dict())
    assert torch.load(snapshot, weights_only=True)["state_dict"].keys() == whole.state_dict().keys()


def test_a_file_has_once_what_snapshot_and_checkpoint_have_in_common(tmp_path: Path) -> None:
    def sizes(folder: Path, *callbacks: Callback) -> list[int]:
        model = Scripted([1.0, 1.1, 0.5])
        model.head = torch.nn.Sequential(torch.nn.Linear(8, 30_000), torch.nn.Linear(30_000, 3))  # type: ignore[assignment]
        fit(folder, 3, *callbacks, _all_epochs(folder), model=model, enable_checkpointing=True)
        return [(folder / f"epoch={epoch}.ckpt").stat().st_size for epoch in range(3)]

    (plain, *_), ours = (
        sizes(tmp_path / name, *callbacks)
        for name, callbacks in (("plain", []), ("ours", [MetricRollback("score", tolerance=0.2)]))
    )
    assert plain > 4_000_000
    assert ours[0] < 1.05 * plain, "the best state so far"
    assert ours[2] < 1.05 * plain, "the best state so far"
    assert ours[1] > 1.9 * plain, "another one than the snapshot"


def test_the_state_survives_a_file_with_weights_only(tmp_path: Path) -> None:
    rollback = MetricRollback("score")
    fit(tmp_path, 3, rollback, model=Scripted([1.0, 2.0, 1.5], schedule="sequential"))
    torch.save(rollback.state_dict(), tmp_path / "state.pt")
    other = MetricRollback("score")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(other.state_dict(), rollback.state_dict())


def test_one_callback_serves_one_run_after_another(tmp_path: Path) -> None:
    rollback = MetricRollback("score")
    fit(tmp_path, 2, rollback, model=Scripted([1.0, 2.0]))
    model = Scripted([8.0, 7.0])
    fit(tmp_path, 2, rollback, model=model)
    assert (rollback.best_score, rollback.rollbacks) == (7.0, 0)
    assert same(model.state_dict(), model.seen[1])


def test_fit_that_goes_on_remembers(tmp_path: Path) -> None:
    rollback, model = MetricRollback("score"), Scripted([1.0, 2.0, 3.0, 3.0])
    run = fit(tmp_path, 2, rollback, model=model)
    run.fit_loop.max_epochs = 4
    run.fit(model, data(1), data(2))
    assert rollback.best_score == 1.0
    assert same(model.state_dict(), model.seen[0])


def test_groups_that_came_later_survive(tmp_path: Path) -> None:
    class Add(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 1:
                trainer.optimizers[0].add_param_group(
                    {"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.2}
                )

    rollback = MetricRollback("score")
    run = fit(tmp_path, 3, rollback, Add(), model=Scripted([1.0, 2.0, 0.5]))
    assert [g["lr"] for g in run.optimizers[0].param_groups] == [0.05, 0.1]


def test_the_count_is_logged(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    model = Scripted([1.0, 2.0, 0.5, 0.4])
    run = fit(tmp_path, 4, MetricRollback("score"), model=model, logger=logger)
    assert float(run.callback_metrics["rollback/count"]) == 1
    logger.save()
    rows = (Path(logger.log_dir) / "metrics.csv").read_text()
    assert "rollback/count" in rows
    assert events(Path(logger.log_dir))


def test_a_metric_that_never_appears_is_named(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"'nope', which .*\(val_loss\)"):
        fit(tmp_path, 1, MetricRollback("nope"), model=Tiny())


def test_a_run_without_validation_is_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path, 1, [MetricRollback("val_loss")])
    with pytest.raises(MisconfigurationException, match="validation"):
        run.fit(Tiny(), data(1))


def test_a_run_that_ends_before_its_first_validation_says_so(tmp_path: Path) -> None:
    model, start = Tiny(), Tiny()
    with pytest.warns(UserWarning, match="no validation scored"):
        fit(tmp_path, 3, MetricRollback("val_loss"), model=model, max_steps=2)
    assert not same(model.state_dict(), start.state_dict())


def test_weights_that_are_broken_at_the_start_are_refused(tmp_path: Path) -> None:
    model = Tiny()
    with torch.no_grad():
        model.head.bias.fill_(NAN)
    with pytest.raises(MisconfigurationException, match=r"head\.bias"):
        fit(tmp_path, 1, MetricRollback("val_loss"), model=model)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"mode": "low"}, {"tolerance": -1}, {"tolerance": NAN}, {"lr_factor": 0}),
        *({"lr_factor": 2}, {"max_rollbacks": -1}, {"cooldown": -1}, {"check_every_n_steps": 0}),
    ],
)
def test_arguments_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match=next(iter(wrong))):
        MetricRollback("val_loss", **wrong)


def test_a_disk_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "last_good.ckpt.tmp").mkdir()
    model = Scripted([1.0, 0.5])
    with pytest.warns(UserWarning, match="RAM only"):
        fit(tmp_path, 2, MetricRollback("score"), model=model)
    assert same(model.state_dict(), model.seen[1])


def test_fast_dev_run_writes_nothing(tmp_path: Path) -> None:
    fit(tmp_path, 1, MetricRollback("val_loss"), model=Tiny(), fast_dev_run=True)
    assert not list(tmp_path.iterdir())


def _train(folder: Path, ckpt: Path | None = None) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    keep = ModelCheckpoint(
        folder, "last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    rollback = MetricRollback("val_loss", max_rollbacks=99, dirpath=folder)
    versions = CheckpointVersions("val_loss", dirpath=folder / "versions")
    model = Tiny(3)
    options = {"enable_checkpointing": True, "ckpt_path": ckpt, "num_sanity_val_steps": 0}
    fit(folder, 6, Fault("nan", 3), rollback, keep, versions, model=model, **options)
    torch.save(model.state_dict(), folder / "final.pt")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.usefixtures("forks")
def test_kill_9_leaves_whole_files_and_a_run_that_goes_on_exactly(tmp_path: Path) -> None:
    def final(folder: Path) -> Any:
        return torch.load(folder / "final.pt", weights_only=True)

    # the first one waits for the imports
    begin(_train, tmp_path / "first").join()
    began = time.monotonic()
    begin(_train, tmp_path / "whole").join()
    took = time.monotonic() - began
    killed = 0
    for part in range(KILLS):
        folder = tmp_path / str(part)
        process = begin(_train, folder)
        process.join((0.1 + 0.8 * part / (KILLS - 1)) * took)
        process.kill()
        process.join()
        killed += not (folder / "final.pt").exists()
        for path in folder.rglob("*.ckpt"):
            torch.load(path, weights_only=True)
        if (index := folder / "versions" / "versions.json").exists():
            for entry in json.loads(index.read_text()):
                assert (index.parent / entry["file"]).exists(), entry
        last = folder / "last.ckpt"
        begin(_train, folder, last if last.exists() else None).join()
        assert same(final(folder), final(tmp_path / "whole")), part
    assert killed >= KILLS // 4, killed


class Uneven(Scripted):
    """One rank alone sees the fault."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        bad = self.validations == 1 and self.global_rank == 1
        self.log("score", NAN if bad else 1 / (1 + self.validations))


def _train_a_rank(rank: int, port: int, folder: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ.update(LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    model, rollback = Uneven([]), MetricRollback("score", dirpath=folder)
    options = {"devices": 2, "strategy": "ddp", "num_sanity_val_steps": 0}
    run = fit(folder, 2, rollback, model=model, **options)
    assert (run.global_rank, run.world_size) == (rank, 2)
    assert rollback.rollbacks == 1
    assert same(dict(model.state_dict()), model.seen[0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork, and gloo by its default name")
@pytest.mark.usefixtures("forks")
def test_ranks_decide_alike(tmp_path: Path) -> None:
    port = find_free_network_port()
    ranks = [begin(_train_a_rank, rank, port, tmp_path) for rank in (0, 1)]
    for process in ranks:
        process.join(300)
        process.kill()
    assert [process.exitcode for process in ranks] == [0, 0]
    assert len(events(tmp_path)) == 1
