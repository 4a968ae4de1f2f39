"""Validation in parts is validation, and no row of it is seen twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from callbacks import MemoryBudget
from callbacks.memory_probe import MemoryProbe
from tests.callbacks.tiny import Tiny, data, fit, same, trainer


class Scoring(Tiny):
    """Logs a mean, a metric and a collection's worth, and gives something back."""

    def __init__(self) -> None:
        super().__init__()
        self.f1 = MulticlassF1Score(3)
        self.accuracy = MulticlassAccuracy(3)
        self.sizes: list[int] = []

    def on_train_epoch_start(self) -> None:
        # frozen, so that gradients of parts are those of the batch
        self.body[1].eval()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        x, y = batch
        self.sizes.append(len(y))
        logits = self(x)
        losses = nn.functional.cross_entropy(logits, y, reduction="none")
        self.f1.update(logits, y)
        self.accuracy.update(logits, y)
        self.log("val/f1", self.f1)
        self.log_dict({"val/accuracy": self.accuracy, "val/loss": losses.mean()})
        self.log("val/largest", losses.max(), reduce_fx="max")
        return {"logits": logits, "loss": losses.mean(), "label": y, "of": dataloader_idx}


class Outputs(Callback):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *rest: Any
    ) -> None:
        assert len(batch[0]) == len(outputs["logits"])
        self.seen.append(outputs)


def scored(folder: Path, *callbacks: Callback) -> tuple[Scoring, dict[str, Tensor], list[Any]]:
    model, outputs = Scoring(), Outputs()
    run = trainer(folder, 2, [outputs, *callbacks])
    # the last batch has 11 rows: parts of 4, 4 and 3
    run.fit(model, data(1), [data(2, 47), data(3, 24)])
    return model, dict(run.callback_metrics), outputs.seen


@pytest.mark.parametrize("size", [1, 5, 11])
def test_what_is_logged_and_given_is_that_of_the_whole_batch(size: int, tmp_path: Path) -> None:
    whole, scores, outputs = scored(tmp_path)
    split, ours, given = scored(tmp_path, MemoryBudget(micro_batch=size))
    assert max(split.sizes) <= size < max(whole.sizes)
    assert sum(split.sizes) == sum(whole.sizes)
    assert scores.keys() <= ours.keys()
    for name, score in scores.items():
        torch.testing.assert_close(ours[name], score, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(given, outputs, rtol=1e-3, atol=1e-4)


class Short(Scoring):
    """Has memory for a few rows of validation only."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        outputs = super().validation_step(batch, batch_idx, dataloader_idx)
        if len(batch[0]) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return outputs


def test_what_fits_is_known_before_a_row_is_seen(tmp_path: Path) -> None:
    whole, scores, _ = scored(tmp_path)
    model, budget = Short(4), MemoryBudget(10**9)
    run = trainer(tmp_path, 2, [budget])
    run.fit(model, data(1), [data(2, 47), data(3, 24)])
    assert budget.validation_batch == 3
    assert budget.micro_batch == 12
    # the trials on a copy left nothing behind
    assert sum(model.sizes) == sum(whole.sizes)
    assert same(model.state_dict(), whole.state_dict())
    for name, score in scores.items():
        torch.testing.assert_close(run.callback_metrics[name], score, msg=name)


def test_not_even_a_row_is_one_sentence(tmp_path: Path) -> None:
    model = Short(0)
    with pytest.raises(MisconfigurationException, match="on 1 of 12 rows takes more than there is"):
        fit(tmp_path, 1, MemoryBudget(10**9), model=model)
    assert model.sizes == []
    assert not {"training_step", "validation_step"} & vars(model).keys()


def test_without_a_budget_it_takes_what_training_takes(tmp_path: Path) -> None:
    class Halved(Scoring):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if len(batch[0]) > 6:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().training_step(batch, batch_idx)

    model = Halved()
    with pytest.warns(UserWarning, match="6 at once"):
        fit(tmp_path, 1, MemoryBudget(), model=model)
    assert model.sizes == [12, 12] + [6, 6] * 4


class Wide(Scoring):
    """Takes 400 kB a row in each of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.end = nn.Linear(4, 100_000), nn.Linear(100_000, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.end(self.wide(x).exp())
        return out

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-9)


def test_a_budget_is_kept_with_the_optimizers_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks: list[Any] = []
    way = MemoryProbe.largest_evaluation
    monkeypatch.setattr(
        MemoryProbe, "largest_evaluation", lambda *a: peaks.append(way(*a)) or peaks[-1]
    )
    torch.manual_seed(0)
    model, most = Wide(), 45_000_000
    weights = sum(parameter.nbytes for parameter in model.parameters())
    validation = DataLoader(data(2).dataset, batch_size=48)
    budget = MemoryBudget(most)
    trainer(tmp_path, 3, [budget]).fit(model, data(1), validation)
    # once in the sanity check, once after the first steps
    (before, without), (after, with_states) = peaks
    assert (before, after) == (48, 24)
    assert without == pytest.approx(weights + 48 * 800_000, rel=0.1)
    assert with_states == pytest.approx(3 * weights + 24 * 800_000, rel=0.1)
    assert model.sizes == [48] + [24, 24] * 3
    assert budget.validation_batch == 24


def test_a_module_that_cannot_be_copied_is_validated_all_the_same(tmp_path: Path) -> None:
    class Unique(Scoring):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("cannot pickle a lock")

    model = Unique()
    with pytest.warns(UserWarning, match=r"validation could not be measured \(cannot pickle a"):
        fit(tmp_path, 1, MemoryBudget(10**9), model=model)
    assert set(model.sizes) == {12}


def test_a_module_without_validation_has_none(tmp_path: Path) -> None:
    class Blind(Tiny):
        validation_step = LightningModule.validation_step  # type: ignore[assignment]

    model = Blind()
    trainer(tmp_path, 1, [MemoryBudget(10**9)]).fit(model, data(1))
    assert not {"training_step", "validation_step"} & vars(model).keys()
