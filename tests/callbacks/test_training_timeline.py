from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from callbacks import (
    GradientMonitor,
    MetricRollback,
    MixedPrecisionGuard,
    Phase,
    ProgressiveUnfreezing,
    TrainingTimeline,
    layerwise_groups,
)
from tests.callbacks.tiny import Fault, Tiny, data, trainer


class Staged(Tiny):
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(layerwise_groups(self, ["body", "head"], lr=0.02, decay=0.5))


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return events


def charts_of(events: EventAccumulator) -> dict[str, list[str]]:
    (event,) = events.Tensors(metadata.CONFIG_SUMMARY_TAG)
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    (category,) = layout.category
    assert category.title == "fine-tuning"
    return {chart.title: list(chart.multiline.tag) for chart in category.chart}


def test_every_chart_of_a_fine_tuning_has_its_curves(tmp_path: Path) -> None:
    callbacks = [
        TrainingTimeline(every_n_steps=1),
        MetricRollback("val_loss", tolerance=10),
        ProgressiveUnfreezing([Phase(0, ("head",)), Phase(2, ("body",), warmup_steps=3)]),
        GradientMonitor(every_n_steps=2),
        MixedPrecisionGuard(),
    ]
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    trainer(tmp_path, 4, callbacks, logger=logger).fit(Staged(), data(), data())
    events = events_of(tmp_path / "run")
    charts = charts_of(events)
    assert list(charts) == [
        *("what is monitored", "loss", "learning rate", "phase", "rollbacks", "gradient norm"),
        "update to weight",
    ]
    tags = events.Tags()["scalars"]
    for title, patterns in charts.items():
        for pattern in patterns:
            assert any(re.match(pattern, tag) for tag in tags), (title, tags)
    assert charts["what is monitored"] == ["val_loss$"]
    # four steps an epoch; the body thaws at step 8 and warms up
    head, body = (
        {event.step: event.value for event in events.Scalars(f"lr/{name}")}
        for name in ("head", "body")
    )
    assert list(head) == list(range(16))
    assert list(head.values()) == pytest.approx([0.02] * 16)
    assert list(body) == list(range(8, 16))
    assert list(body.values())[:4] == pytest.approx([0.0025, 0.005, 0.0075, 0.01])


def test_charts_of_absent_callbacks_are_left_out(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    callbacks = [TrainingTimeline(), EarlyStopping("val_loss")]
    trainer(tmp_path, 1, callbacks, logger=logger, log_every_n_steps=2).fit(Tiny(), data(), data())
    events = events_of(tmp_path / "run")
    assert list(charts_of(events)) == ["what is monitored", "loss", "learning rate"]
    assert [event.step for event in events.Scalars("lr/0")] == [0, 2]


class Two(Tiny):
    """Has an optimizer for its body and one for its head."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.manual_backward(super().training_step(batch, batch_idx))
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self) -> Any:
        parts = ((self.body, 0.1), (self.head, 0.2))
        return [torch.optim.SGD(part.parameters(), lr=rate) for part, rate in parts]


def test_each_of_two_optimizers_is_logged(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    fit = trainer(tmp_path, 1, [TrainingTimeline(every_n_steps=2)], logger=logger)
    fit.fit(Two(), data(), data())
    fit.save_checkpoint(tmp_path / "last.ckpt")
    again = trainer(tmp_path, 2, [TrainingTimeline(every_n_steps=3)], logger=logger)
    again.fit(Two(), data(), data(), ckpt_path=tmp_path / "last.ckpt")
    events = events_of(tmp_path / "run")
    # steps of both count; four of each in an epoch. Files are read by their names, which end in a
    # number: the tenth of a process comes before its ninth, if both were begun in one second
    assert sorted((e.step, e.value) for e in events.Scalars("lr/0.0")) == [
        (step, pytest.approx(0.1)) for step in (0, 4, 12)
    ]
    assert sorted((e.step, e.value) for e in events.Scalars("lr/1.0")) == [
        (step, pytest.approx(0.2)) for step in (1, 5, 13)
    ]


def test_a_rollback_shows_in_the_rates_and_a_second_fit_begins_anew(tmp_path: Path) -> None:
    timeline = TrainingTimeline(every_n_steps=1)
    rollback = MetricRollback("val_loss", lr_factor=0.5, dirpath=tmp_path, tolerance=10)
    logger = CSVLogger(tmp_path, name="", version="run")
    fit = trainer(tmp_path, 4, [timeline, rollback, Fault("nan", epoch=1)], logger=logger)
    module = Tiny()
    fit.fit(module, data(), data())
    rows = (tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    place = rows[0].split(",").index("lr/0")
    rates = [float(row.split(",")[place]) for row in rows[1:] if row.split(",")[place]]
    assert rollback.rollbacks == 1
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.05)
    assert not timeline._hooks
    assert not fit.optimizers[0]._optimizer_step_pre_hooks


@pytest.mark.parametrize("wrong", [{"title": ""}, {"every_n_steps": 0}])
def test_arguments_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException):
        TrainingTimeline(**wrong)
