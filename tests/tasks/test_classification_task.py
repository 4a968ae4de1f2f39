from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks import show_result
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.confusion_figure import confusion_figure
from lazarus_pl.tasks.cosine_schedule import CosineSchedule
from lazarus_pl.tasks.load_task import load_task
from lazarus_pl.tasks.standardise import Standardise


def build(data: CachedFeatureDataModule, **options: object) -> ClassificationTask:
    return ClassificationTask(
        class_names=data.class_names,
        class_counts=data.class_counts,
        feature_shapes=data.feature_shapes,
        encoder=data.encoder,
        **{"head": "linear", **options},
    )


def trainer(folder: Path, **options: object) -> Trainer:
    defaults = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "default_root_dir": folder,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**{**defaults, **options})


@pytest.fixture
def data(cache: Path) -> CachedFeatureDataModule:
    return CachedFeatureDataModule(str(cache), batch_size=8)


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_loss_of_a_side_does_not_depend_on_the_batch(
    weights: str, cache: Path, tmp_path: Path
) -> None:
    losses = []
    for size in (1, 2, 4, 256):
        data = CachedFeatureDataModule(str(cache), batch_size=size)
        seed_everything(0)
        task = build(data, class_weights=weights)
        for parameter in task.head.parameters():
            torch.nn.init.normal_(parameter)
        # as if one class were rare
        if task.loss.weight is not None:
            task.loss.weight.mul_(torch.tensor([9.0, 1.0, 0.1]))
        scores = trainer(tmp_path).validate(task, datamodule=data, verbose=False)[0]
        losses.append(scores["val/loss"])
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
@pytest.mark.parametrize("verb", ["fit", "validate"])
def test_another_precision_as_a_whole_is_a_sentence(
    precision: str, verb: str, data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    begin = getattr(trainer(tmp_path, precision=precision), verb)
    with pytest.raises(LazarusError, match=f"{precision} is not for this task.* bf16-mixed"):
        begin(build(data), datamodule=data)


def test_metrics_agree_with_scikit_learn(data: CachedFeatureDataModule, tmp_path: Path) -> None:
    seed_everything(0)
    task = build(data)
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(task, datamodule=data)
    scores = fitted.validate(task, datamodule=data, verbose=False)[0]
    targets, predicted = [], []
    task.eval()
    with torch.no_grad():
        for batch in data.val_dataloader():
            targets.extend(batch["target"].tolist())
            predicted.extend(task(batch["features"]).argmax(-1).tolist())
    assert scores["val/accuracy"] == pytest.approx(accuracy_score(targets, predicted))
    expected = f1_score(targets, predicted, average="macro")
    assert scores["val/macro_f1"] == pytest.approx(expected)
    recalls = recall_score(targets, predicted, average=None, labels=range(3), zero_division=0)
    for name, recall in zip(data.class_names, recalls, strict=True):
        assert scores[f"val_recall/{name}"] == pytest.approx(recall)
    assert 0 <= scores["val/calibration_error"] <= 1
    expected_confusion = confusion_matrix(targets, predicted, labels=range(3))
    assert np.array_equal(task._val_confusion.numpy(), expected_confusion)


def test_the_confusion_at_the_end_of_a_fit_is_that_of_the_best_epoch(
    data: CachedFeatureDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[np.ndarray] = []
    monkeypatch.setattr(
        show_result,
        "confusion_figure",
        lambda counts, names: drawn.append(counts) or confusion_figure(counts, names),
    )
    seed_everything(0)
    # takes the worst epoch for the best one: it is not the last one
    best = ModelCheckpoint(tmp_path, filename="best", monitor="val/macro_f1", mode="min")
    logger = TensorBoardLogger(tmp_path)
    fitted = trainer(tmp_path, max_epochs=4, callbacks=[best], logger=logger)
    fitted.fit(task := build(data, lr=1.0), datamodule=data)
    last = task._val_confusion.numpy().copy()
    fitted.validate(task, datamodule=data, ckpt_path=best.best_model_path, verbose=False)
    assert len(drawn) == 1
    assert np.array_equal(drawn[0], task._val_confusion.numpy())
    assert not np.array_equal(drawn[0], last)


def test_it_learns(data: CachedFeatureDataModule, tmp_path: Path) -> None:
    seed_everything(0)
    task = build(data, lr=1e-2)
    fitted = trainer(tmp_path, max_epochs=15)
    fitted.fit(task, datamodule=data)
    assert fitted.callback_metrics["train/accuracy"] == 1
    assert fitted.callback_metrics["train/loss"] < 0.1


def test_a_checkpoint_alone_predicts_the_same(
    data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    task = build(data, head="mlp", head_options={"hidden": 16})
    fitted = trainer(tmp_path)
    fitted.fit(task, datamodule=data)
    path = tmp_path / "task.ckpt"
    fitted.save_checkpoint(path)
    batch = next(iter(data.val_dataloader()))
    expected = task.eval()(batch["features"])
    loaded = load_task(path)
    assert torch.equal(loaded(batch["features"]), expected)
    assert loaded.class_names == data.class_names
    assert loaded.encoder["digest"] == data.encoder["digest"]
    assert not torch.equal(loaded.standardise["pooled"].mean, torch.zeros(1280))
    theirs = ClassificationTask.load_from_checkpoint(path, weights_only=True).eval()
    assert torch.equal(theirs(batch["features"]), expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_names": ["a", "b", "c"]}, "knows the classes healthy, late_blight, rust"),
        ({"encoder": {"name": "other", "digest": "0" * 64}}, "trained on features of encoder"),
        ({"head": "mlp"}, "holds the head 'linear'"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    change: dict[str, Any], said: str, data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(build(data), datamodule=data)
    fitted.save_checkpoint(tmp_path / "task.ckpt")
    arguments = {
        "class_names": data.class_names,
        "feature_shapes": data.feature_shapes,
        "encoder": data.encoder,
        "head": "linear",
        **change,
    }
    other = ClassificationTask(**arguments)
    with pytest.raises(LazarusError, match=said):
        trainer(tmp_path).validate(other, datamodule=data, ckpt_path=tmp_path / "task.ckpt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        (b"nonsense", "cannot be read"),
        ({"state_dict": {}}, "not a checkpoint of lazarus"),
        ({"state_dict": {}, "lazarus": {"format": 99}}, "format 99"),
        ([1, 2], "not a checkpoint of lazarus"),
    ],
)
def test_files_that_are_not_ours(content: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(LazarusError, match=said):
        load_task(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"lazarus": Evil()}, tmp_path / "x.ckpt")
    with pytest.raises(LazarusError, match="cannot be read"):
        load_task(tmp_path / "x.ckpt")
    assert not (tmp_path / "ran").exists()


def test_class_weights() -> None:
    def weights(kind: str) -> torch.Tensor:
        task = ClassificationTask(
            "linear",
            class_weights=kind,  # type: ignore[arg-type]
            class_names=["a", "b", "c"],
            class_counts=[100, 10, 0],
            feature_shapes={"pooled": [4]},
        )
        assert task.loss.weight is not None
        return task.loss.weight

    balanced, effective = weights("balanced"), weights("effective")
    assert balanced[1] / balanced[0] == pytest.approx(10)
    expected = (1 - 0.999**100) / (1 - 0.999**10)
    assert float(effective[1] / effective[0]) == pytest.approx(expected, rel=1e-4)
    for found in (balanced, effective):
        assert found[2] == 0
        assert float((found * torch.tensor([100, 10, 0])).sum()) == pytest.approx(110)


@pytest.mark.parametrize("views", [0, 4])
def test_resume_equals_never_stopped(views: int, viewed: Path, tmp_path: Path) -> None:
    def fit(epochs: int, ckpt: Path | None = None) -> tuple[Trainer, ClassificationTask]:
        seed_everything(0)
        data = CachedFeatureDataModule(str(viewed), batch_size=8, seed=5, views=views)
        task = build(data)
        # a schedule that does not depend on where the run stops
        task.configure_optimizers = lambda: torch.optim.AdamW(task.parameters(), lr=1e-2)  # type: ignore[method-assign]
        fitted = trainer(tmp_path, max_epochs=epochs)
        fitted.fit(task, datamodule=data, ckpt_path=ckpt)
        return fitted, task

    whole = fit(4)[1]
    stopped, _ = fit(2)
    stopped.save_checkpoint(tmp_path / "half.ckpt")
    resumed = fit(4, tmp_path / "half.ckpt")[1]
    for left, right in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(left, right)


def test_cosine_schedule_rises_and_falls_to_zero() -> None:
    schedule = CosineSchedule(100, 0.1)
    values = [schedule(step) for step in range(101)]
    assert values[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert max(values) == 1
    assert values[55] == pytest.approx(0.5)
    assert values[100] == pytest.approx(0, abs=1e-9)
    assert schedule(500) == pytest.approx(0, abs=1e-9)
    assert CosineSchedule(1)(0) == 1


def test_standardise() -> None:
    module = Standardise(3)
    values = torch.randn(50, 3, dtype=torch.float64).half() * 4 + 2
    assert torch.equal(module(values), values.float())
    module.fit(values.float().mean(0), values.float().std(0))
    assert module(values).mean().abs() < 1e-3
    assert (module(values).std(0) - 1).abs().max() < 1e-3
    module.fit(torch.zeros(3), torch.tensor([1.0, 0.0, 1.0]))
    assert torch.isfinite(module(values)).all()


def test_standardised_features_come_in_the_dtype_that_layers_will_read() -> None:
    layer = Standardise(2)
    layer.fit(torch.tensor([1000.0, 0.0]), torch.tensor([0.5, 1.0]))
    features = torch.tensor([[1000.5, 1.0]], dtype=torch.float16)
    assert layer(features).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        told = layer(features)
    # 1000.5 is 1000 in bfloat16: it is shifted before it is rounded
    assert told.tolist() == [[1.0, 1.0]]
    assert told.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "fused"),
    [
        ({}, True),
        ({"gradient_clip_val": 1.0}, True),
        ({"precision": "bf16-mixed"}, True),
        ({"precision": "bf16-mixed", "gradient_clip_val": 1.0}, False),
    ],
)
def test_steps_are_fused_where_gradients_can_be_clipped(
    options: dict[str, object], fused: bool, data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    fitted = trainer(tmp_path, max_epochs=1, **options)
    fitted.fit(build(data), datamodule=data)
    assert fitted.optimizers[0].param_groups[0]["fused"] is fused


def test_what_a_task_needs_is_named() -> None:
    with pytest.raises(LazarusError, match="class_names"):
        ClassificationTask()
    with pytest.raises(LazarusError, match="needs class_counts"):
        ClassificationTask(
            "linear",
            class_weights="balanced",
            class_names=["a", "b"],
            feature_shapes={"pooled": [4]},
        )


def test_mixup_learns_and_is_the_same_every_time(
    data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    weights = []
    for mixup in (0.0, 0.4, 0.4):
        seed_everything(3)
        task = build(data, mixup=mixup, lr=0.003)
        fitted = trainer(tmp_path, max_epochs=15)
        fitted.fit(task, datamodule=data)
        weights.append(task.head.state_dict())
        assert fitted.callback_metrics["train/loss"] < 1.0
    for name, value in weights[1].items():
        assert torch.equal(value, weights[2][name])
    assert any(not torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    with pytest.raises(LazarusError, match=r"mixup -0\.1"):
        build(data, mixup=-0.1)
