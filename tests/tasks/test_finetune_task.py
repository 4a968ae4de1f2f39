"""Fine-tuning begins as its start, keeps near it if told to, and ends as a checkpoint like any."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from callbacks import MetricRollback, MixedPrecisionGuard, Phase, ProgressiveUnfreezing
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.finetune_task import FinetuneTask
from lazarus_pl.tasks.load_task import load_task
from tests.conftest import Lazarus

ROOT = Path(__file__).parent.parent.parent
CONFIG = ROOT / "configs" / "finetune" / "progressive.yaml"
HEADS = ("linear", "mlp", "attention")
QUIET = "--trainer.enable_progress_bar=false"

Make = Callable[..., FinetuneTask]


@pytest.fixture(scope="module")
def starts(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained head of each kind."""
    folder = tmp_path_factory.mktemp("starts")
    found = {}
    for head in HEADS:
        layers = ("grid16", "grid32") if head == "attention" else ("pooled",)
        data = CachedFeatureDataModule(str(cache), layers)
        # a start that has learned something can be ruined
        seed_everything(0)
        task = ClassificationTask(head, lr=3e-3, **_linked(data))
        trainer = _trainer(folder / head, max_epochs=20)
        trainer.fit(task, datamodule=data)
        found[head] = folder / f"{head}.ckpt"
        trainer.save_checkpoint(found[head])
    return found


@pytest.fixture
def data(viewed: Path) -> CachedFeatureDataModule:
    return CachedFeatureDataModule(str(viewed), ("grid16",), batch_size=8, views="all")


@pytest.fixture
def make(starts: dict[str, Path], data: CachedFeatureDataModule) -> Make:
    def build(head: str = "attention", **options: bool | float) -> FinetuneTask:
        return FinetuneTask(str(starts[head]), **{**_linked(data), **options})

    return build


@pytest.mark.parametrize("head", HEADS)
def test_it_begins_with_what_the_start_says(
    head: str, make: Make, starts: dict[str, Path], data: CachedFeatureDataModule, viewed: Path
) -> None:
    before = load_task(starts[head])
    layers = tuple(before.feature_shapes)
    plain = CachedFeatureDataModule(str(viewed), layers)
    task = make(head)
    task.setup("fit")
    task.eval()
    with torch.no_grad():
        data.batch_size = plain.batch_size
        for old, new in zip(plain.val_dataloader(), data.val_dataloader(), strict=True):
            assert old["index"].equal(new["index"])
            then = before(old["features"]).softmax(dim=-1)
            now = task(new["features"]).softmax(dim=-1)
            # the cached grid is rounded to float16, as are the layers that the start was trained on
            torch.testing.assert_close(now, then, rtol=0, atol=3e-3)
            assert now.argmax(dim=1).equal(then.argmax(dim=1))


def test_what_trains_and_how_fast(make: Make, data: CachedFeatureDataModule) -> None:
    task = make(lr=0.01, lr_decay=0.5)
    rates: dict[str, float] = {}

    class Look(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            rates.update({g["name"]: g["initial_lr"] for g in trainer.optimizers[0].param_groups})

    unfreezing = ProgressiveUnfreezing([Phase(0, ("head", "tail.block6"))])
    trainer = _trainer(None, max_epochs=1, callbacks=[unfreezing, Look()])
    task.setup("fit")
    before = {name: value.clone() for name, value in task.state_dict().items()}
    trainer.fit(task, datamodule=data)
    assert rates == {
        "head": 0.01,
        "tail.last": 0.005,
        "tail.block6": 0.0025,
        "tail.block5": 0.00125,
    }
    moved = {
        ".".join(name.split(".")[:2])
        for name, value in task.state_dict().items()
        if not value.equal(before[name]) and not name.startswith(("val", "train", "test"))
    }
    assert {m for m in moved if m.startswith("tail")} == {"tail.block6"}
    assert any(m.startswith("head") for m in moved)


@pytest.mark.parametrize("flips", [True, False])
def test_training_sees_grids_flipped_and_validation_does_not(
    flips: bool, make: Make, viewed: Path
) -> None:
    task, plain = make(flips=flips), CachedFeatureDataModule(str(viewed), ("grid16",), batch_size=8)
    seen: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}

    class Look(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Any], i: int
        ) -> None:
            seen["train"].append(batch)

        def on_validation_batch_start(
            self,
            trainer: Trainer,
            pl_module: LightningModule,
            batch: dict[str, Any],
            i: int,
            j: int = 0,
        ) -> None:
            seen["val"].append(batch)

    seed_everything(0)
    _trainer(None, max_epochs=1, callbacks=[Look()]).fit(task, datamodule=plain)
    cache = FeatureCache(viewed)
    for side, batches in seen.items():
        for batch in batches:
            cached = torch.from_numpy(cache.gather("grid16", batch["index"].numpy()))
            grids = batch["features"]["grid16"]
            assert grids.equal(cached) == (side == "val" or not flips)
            # the same cells in other places
            assert grids.flatten().sort().values.equal(cached.flatten().sort().values)


def test_batches_of_one_step_draw_other_numbers(make: Make, viewed: Path) -> None:
    task, plain = make(), CachedFeatureDataModule(str(viewed), ("grid16",), batch_size=8)
    drawn: list[float] = []

    class Look(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, *others: object
        ) -> None:
            drawn.extend(task.batch_rng(purpose).random() for purpose in (0, 1))

    trainer = _trainer(None, max_epochs=2, callbacks=[Look()])
    trainer.accumulate_grad_batches = 4
    trainer.fit(task, datamodule=plain)
    assert trainer.global_step < len(drawn) / 4
    assert len(drawn) > 8
    assert len(set(drawn)) == len(drawn)


def test_penalties_are_zero_at_the_start_and_hold_it(
    make: Make, data: CachedFeatureDataModule
) -> None:
    task = make("mlp", start_penalty=3.0, output_penalty=2.0)
    task.setup("fit")
    task.eval()
    batch = next(iter(data.val_dataloader()))
    features, target = batch["features"], batch["target"]
    logits = task(features)
    plain = task.loss(logits, target)
    torch.testing.assert_close(task.objective(features, logits, target), plain)
    with torch.no_grad():
        for parameter in task.head.parameters():
            parameter.add_(0.1)
    count = sum(parameter.numel() for parameter in task.head.parameters())
    moved = task(features)
    start = logits.softmax(dim=-1)
    divergence = (start * (start.log() - moved.log_softmax(dim=-1))).sum(dim=-1).mean()
    expected = task.loss(moved, target) + 3.0 / 2 * count * 0.01 + 2.0 * divergence
    torch.testing.assert_close(
        task.objective(features, moved, target), expected, rtol=1e-3, atol=1e-3
    )
    assert not any("frozen" in name for name in task.state_dict())


def test_a_far_start_penalty_keeps_the_weights(make: Make, data: CachedFeatureDataModule) -> None:
    def distance(penalty: float) -> float:
        torch.manual_seed(0)
        task = make("mlp", start_penalty=penalty, lr=1e-3, weight_decay=0.0)
        task.setup("fit")
        before = [parameter.detach().clone() for parameter in task.parameters()]
        _trainer(None, max_epochs=4).fit(task, datamodule=data)
        pairs = zip(task.parameters(), before, strict=True)
        return sum(float((now - then).detach().square().sum()) for now, then in pairs)

    assert distance(1.0) < 0.5 * distance(0.0)


def test_the_fall_of_the_class_that_lost_most(make: Make, data: CachedFeatureDataModule) -> None:
    task = make(lr=1e-3)
    trainer = _trainer(None, max_epochs=1)
    trainer.fit(task, datamodule=data)
    recalls = torch.stack(
        [trainer.callback_metrics[f"val_recall/{name}"] for name in task.class_names]
    )
    expected = (task.start_recall - recalls).clamp_min(0).max()
    torch.testing.assert_close(trainer.callback_metrics["val/worst_recall_drop"], expected)
    assert task.start_recall.max() > 0


def test_a_ruined_network_is_rolled_back_to_its_start(
    make: Make, data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    # a rate that ruins every class
    task = make("mlp", lr=10.0, warmup=0.0, margin=0.05)
    rollback = MetricRollback("val/guarded_macro_f1", "max", dirpath=tmp_path)
    trainer = _trainer(None, max_epochs=3, callbacks=[rollback], sanity=-1)
    trainer.fit(task, datamodule=data)
    assert rollback.rollbacks > 0
    begun = make("mlp")
    begun.setup("fit")
    for part in ("head", "tail"):
        now = getattr(task, part).state_dict()
        for name, value in getattr(begun, part).state_dict().items():
            assert value.equal(now[name]), f"{part}.{name}"


@pytest.mark.parametrize(("photos", "certain"), [(60, 0.355524), (3, 0.0)])
def test_a_certain_fall_beyond_the_margin_is_taken_off(
    photos: int, certain: float, make: Make
) -> None:
    task = make("mlp", margin=0.1)
    task.trainer = _trainer(None, max_epochs=1)
    task.start_recall.fill_(1.0)
    confusion = photos * torch.eye(len(task.class_names), dtype=torch.long)
    # half of a class is taken for another one
    confusion[0, 1] = confusion[0, 0] - photos // 2
    confusion[0, 0] = photos // 2
    scores = task.with_own_scores({"val/macro_f1": torch.tensor(0.8)}, confusion)
    fall = 1 - photos // 2 / photos
    assert float(scores["val/worst_recall_drop"]) == pytest.approx(fall)
    expected = 0.8 - max(0.0, certain - 0.1)
    assert float(scores["val/guarded_macro_f1"]) == pytest.approx(expected, abs=1e-4)


def test_the_checkpoint_needs_neither_start_nor_cache(
    make: Make, starts: dict[str, Path], data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    copy = tmp_path / "start.ckpt"
    shutil.copy(starts["attention"], copy)
    task = FinetuneTask(str(copy), **_linked(data))
    trainer = _trainer(None, max_epochs=1)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "tuned.ckpt")
    copy.unlink()
    again = load_task(tmp_path / "tuned.ckpt")
    assert isinstance(again, FinetuneTask)
    assert again.state_dict().keys() == task.state_dict().keys()
    for name, value in task.state_dict().items():
        assert value.equal(again.state_dict()[name]), name


def test_it_goes_on_from_a_fine_tuned_start(
    make: Make, data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    task = make("mlp", lr=1e-2)
    trainer = _trainer(None, max_epochs=1)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "tuned.ckpt")
    more = FinetuneTask(str(tmp_path / "tuned.ckpt"), **_linked(data))
    more.setup("fit")
    for part in ("head", "tail", "standardise"):
        theirs = getattr(task, part).state_dict()
        for name, value in getattr(more, part).state_dict().items():
            assert value.equal(theirs[name]), f"{part}.{name}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": None}, "fine-tuning starts with a trained head"),
        ({"start": "nowhere.ckpt"}, "'nowhere.ckpt' does not exist"),
        ({"class_names": ["a", "b"]}, "knows the classes healthy, late_blight, rust"),
        ({"encoder": {"digest": "other"}}, "features of encoder digest"),
        ({"feature_shapes": {"pooled": [1280]}}, r"reads the layer grid16.*\[grid16\]"),
        ({"lr_decay": 2.0}, "lr_decay 2.0"),
        ({"lr_decay": 0.0}, "lr_decay 0.0"),
        ({"start_penalty": -1.0}, "start_penalty -1.0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be(
    change: dict[str, Any], said: str, starts: dict[str, Path], data: CachedFeatureDataModule
) -> None:
    with pytest.raises(LazarusError, match=said):
        FinetuneTask(**{"start": str(starts["mlp"]), **_linked(data), **change})


def test_weights_that_are_there_are_not_replaced(
    make: Make, data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    task = make("mlp", lr=1e-2, start_penalty=0.1)
    trainer = _trainer(None, max_epochs=1)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "tuned.ckpt")
    learned = {name: value.clone() for name, value in task.head.state_dict().items()}
    trainer.validate(task, datamodule=data, verbose=False)
    again = load_task(tmp_path / "tuned.ckpt")
    assert isinstance(again, FinetuneTask)
    again.setup("fit")
    for other in (task, again):
        for name, value in other.head.state_dict().items():
            assert value.equal(learned[name]), name
    (twin,) = again._twin
    assert not twin._twin
    assert any(not v.equal(learned[name]) for name, v in twin.head.state_dict().items())
    again.teardown("fit")
    assert not again._twin


def test_before_a_fit_it_scores_as_its_start(
    make: Make, data: CachedFeatureDataModule, starts: dict[str, Path]
) -> None:
    task = make("attention")
    trainer = _trainer(None, max_epochs=1)
    (scores,) = trainer.validate(task, datamodule=data, verbose=False)
    content = torch.load(starts["attention"], weights_only=True)
    assert scores["val/macro_f1"] == pytest.approx(content["lazarus"]["scores"]["val/macro_f1"])


@pytest.mark.parametrize("lame", [False, True])
def test_fp16_is_checked_on_the_blocks_themselves(
    lame: bool, make: Make, data: CachedFeatureDataModule
) -> None:
    task, guard = make("attention"), MixedPrecisionGuard()
    if lame:
        # what GTX 16xx cards give in fp16
        task.tail.register_forward_hook(_nan_under_autocast)
    fp16 = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    trainer = _trainer(None, max_epochs=1, callbacks=[guard], plugins=[fp16])
    trainer.fit(task, datamodule=data)
    expected = "forward is not finite in fp16, and is in fp32" if lame else None
    assert guard.reason == expected
    assert (trainer.precision_plugin.precision == "32-true") == lame


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content["state_dict"].pop("standardise.pooled.mean"), "lacks the weights"),
        (
            lambda content: content["state_dict"].update(
                {"standardise.pooled.mean": torch.zeros(3)}
            ),
            "are not those of its head",
        ),
    ],
    ids=["missing", "other shape"],
)
def test_a_damaged_start_is_one_sentence(
    damage: Callable[[dict[str, Any]], None],
    said: str,
    starts: dict[str, Path],
    data: CachedFeatureDataModule,
    tmp_path: Path,
) -> None:
    content = torch.load(starts["mlp"], weights_only=True)
    damage(content)
    torch.save(content, tmp_path / "damaged.ckpt")
    task = FinetuneTask(str(tmp_path / "damaged.ckpt"), **_linked(data))
    with pytest.raises(LazarusError, match=said):
        task.setup("fit")


def test_a_start_that_was_trained_on_windows_is_refused(
    starts: dict[str, Path], data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    content = torch.load(starts["mlp"], weights_only=True)
    content["lazarus"]["arguments"]["encoder"]["windows"] = {"count": 2, "overlap": 0.5}
    torch.save(content, tmp_path / "windows.ckpt")
    with pytest.raises(LazarusError, match=r"in 2 windows .*: give a checkpoint"):
        FinetuneTask(str(tmp_path / "windows.ckpt"), **_linked(data))


def test_a_start_without_recalls_is_measured(
    starts: dict[str, Path], data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    content = torch.load(starts["mlp"], weights_only=True)
    expected = content["lazarus"].pop("confusion")
    torch.save(content, tmp_path / "start.ckpt")
    task = FinetuneTask(str(tmp_path / "start.ckpt"), **_linked(data))
    _trainer(None, max_epochs=1, sanity=-1).fit(task, datamodule=data)
    counts = torch.tensor(expected).float()
    torch.testing.assert_close(task.start_recall, counts.diagonal() / counts.sum(dim=1))


def test_a_continued_run_keeps_the_recalls_of_its_start(
    starts: dict[str, Path], data: CachedFeatureDataModule, tmp_path: Path
) -> None:
    task = FinetuneTask(str(starts["mlp"]), **_linked(data))
    first = _trainer(None, max_epochs=1, sanity=-1)
    first.fit(task, datamodule=data)
    task.start_recall.fill_(0.9)
    first.save_checkpoint(tmp_path / "last.ckpt")
    again = FinetuneTask(str(starts["mlp"]), **_linked(data))
    run = _trainer(None, max_epochs=2, sanity=-1)
    run.fit(again, datamodule=data, ckpt_path=tmp_path / "last.ckpt")
    assert torch.equal(again.start_recall, torch.full((3,), 0.9))


@pytest.mark.parametrize("sides", ["[train]", "[train, val]"])
def test_a_fine_tuning_in_vain_says_so_where_val_can_tell(
    sides: str,
    starts: dict[str, Path],
    viewed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lazarus: Lazarus,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = lazarus(
        *("fit", "-c", CONFIG, f"--data.init_args.cache={viewed}", QUIET),
        *(f"--model.init_args.start={starts['mlp']}", "--model.init_args.lr=3"),
        *("--trainer.max_epochs=2", f"--data.init_args.train_on={sides}"),
    )
    assert done.code == 0, done.err
    said = "no epoch was better on val than the start (val/guarded_macro_f1 0." in done.out
    assert said == ("val" not in sides)


@pytest.mark.slow
def test_through_the_command_line(
    starts: dict[str, Path],
    viewed: Path,
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lazarus: Lazarus,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("-c", CONFIG, f"--data.init_args.cache={viewed}", QUIET)
    start = f"--model.init_args.start={starts['attention']}"
    done = lazarus("fit", *words, start, "--trainer.max_epochs=3", "--data.init_args.views=all")
    assert done.code == 0, done.err
    run = Path("lightning_logs/version_0")
    best = run / "checkpoints" / "best.ckpt"
    assert {path.name for path in run.glob("*.jsonl")} >= {"gradients.jsonl"}
    entries = json.loads((best.parent / "versions.json").read_text())
    assert entries[-1]["phase"] == 1
    assert {entry["data_digest"] for entry in entries} == {
        CachedFeatureDataModule(str(viewed)).data_digest
    }
    for verb in ("validate", "test"):
        again = lazarus(verb, *words, f"--ckpt_path={best}")
        assert again.code == 0, again.err
        assert "macro_f1" in again.out
    # as its own config has it, where the start is no more
    gone = lazarus("test", *words, "--model.init_args.start=gone.ckpt", f"--ckpt_path={best}")
    assert gone.code == 0, gone.err
    last = run / "checkpoints" / "last.ckpt"
    more = lazarus("fit", *words, start, "--trainer.max_epochs=4", f"--ckpt_path={last}")
    assert more.code == 0, more.err
    told = lazarus("explain", "--ckpt", best, "--data", drawn / "rust", "--out", "maps")
    assert told.code == 0, told.err
    told = lazarus("classify", "--ckpt", best, "--data", drawn)
    assert told.code == 0, told.err
    assert "accuracy" in told.out


def test_a_pooled_head_is_explained_too(
    make: Make, data: CachedFeatureDataModule, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    task = make("mlp")
    trainer = _trainer(None, max_epochs=1)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "tuned.ckpt")
    words = ("--ckpt", tmp_path / "tuned.ckpt", "--data", drawn, "--out", tmp_path / "maps")
    done = lazarus("explain", *words)
    assert done.code == 0, done.err


def test_a_fine_tuned_encoder_extracts_a_cache_of_its_own(
    make: Make, data: CachedFeatureDataModule, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    task = make("mlp", lr=1e-2)
    trainer = _trainer(None, max_epochs=2)
    trainer.fit(task, datamodule=data)
    tuned = tmp_path / "tuned.ckpt"
    trainer.save_checkpoint(tuned)
    task.eval()
    size = int(task.encoder["image_size"])
    encoder = Encoder.from_spec(EncoderSpec(weights=str(tuned), image_size=size))
    base = Encoder.from_spec(EncoderSpec(image_size=size))
    assert encoder.identity["digest"] != base.identity["digest"]
    images = torch.rand(2, 3, size, size) * 2 - 1
    with torch.no_grad():
        layers = encoder(images)
        assert layers["grid16"].equal(base(images)["grid16"])
        torch.testing.assert_close(
            layers["pooled"], task.tail(layers["grid16"])["pooled"], rtol=1e-3, atol=1e-3
        )
        assert not torch.allclose(layers["pooled"], base(images)["pooled"], rtol=1e-2, atol=1e-2)
    words = ("--data", drawn, "--out", tmp_path / "cache", "--encoder.image_size", size)
    done = lazarus("extract", *words, f"--encoder.weights={tuned}")
    assert done.code == 0, done.err
    other = lazarus("extract", *words, f"--encoder.weights={tuned}", "--encoder.name=resnet18")
    assert other.code == 2
    assert "was fine-tuned from 'tf_efficientnet_lite0'" in other.err
    # what else is in the checkpoint says nothing of the encoder
    content = torch.load(tuned, weights_only=True)
    content["lazarus"]["doubt"] = {"temperature": 2.0}
    torch.save(content, tuned)
    again = lazarus("extract", *words, f"--encoder.weights={tuned}")
    assert again.code == 0, again.err
    assert "(0 extracted now" in again.out
    content["state_dict"]["tail.last.0.weight"].add_(1)
    torch.save(content, tuned)
    changed = lazarus("extract", *words, f"--encoder.weights={tuned}")
    assert changed.code == 2
    assert "was made by encoder" in changed.err


def test_a_fine_tuned_encoder_is_fine_tuned_again_and_extracts_too(
    make: Make, data: CachedFeatureDataModule, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    def saved(task: ClassificationTask, data: CachedFeatureDataModule, name: str) -> Path:
        trainer = _trainer(None, max_epochs=1)
        trainer.fit(task, datamodule=data)
        trainer.save_checkpoint(tmp_path / name)
        return tmp_path / name

    first = saved(make("mlp", lr=1e-2), data, "first.ckpt")
    words = ("--data", drawn, "--out", tmp_path / "cache", "--encoder.image_size", 64)
    done = lazarus("extract", *words, "--encoder.weights", first)
    assert done.code == 0, done.err
    own = CachedFeatureDataModule(str(tmp_path / "cache"), ("pooled",))
    start = saved(ClassificationTask("linear", **_linked(own)), own, "start.ckpt")
    grids = CachedFeatureDataModule(str(tmp_path / "cache"), ("grid16",), batch_size=8)
    with pytest.raises(LazarusError, match=r"came from the file 'first.ckpt'"):
        FinetuneTask(str(start), **_linked(grids))
    second = FinetuneTask(str(start), str(first), lr=1e-2, **_linked(grids))
    path = saved(second, grids, "second.ckpt")
    encoder = Encoder.from_spec(EncoderSpec(weights=str(path), image_size=64))
    identity = encoder.identity["weights"]
    assert identity["base"]["source"] == "packaged"
    assert identity["sha256"] != second.encoder["weights"]["sha256"]
    with torch.no_grad():
        layers = encoder(torch.rand(2, 3, 64, 64) * 2 - 1)
        expected = second.eval().tail(layers["grid16"])["pooled"]
    torch.testing.assert_close(layers["pooled"], expected, rtol=1e-3, atol=1e-3)


def _linked(data: CachedFeatureDataModule) -> dict[str, Any]:
    names = ("class_names", "class_counts", "feature_shapes", "encoder")
    return {name: getattr(data, name) for name in names}


def _trainer(
    folder: Path | None,
    max_epochs: int,
    callbacks: Sequence[Callback] = (),
    sanity: int = 0,
    plugins: Sequence[MixedPrecision] = (),
) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        max_epochs=max_epochs,
        num_sanity_val_steps=sanity,
        callbacks=list(callbacks),
        plugins=list(plugins),
    )


def _nan_under_autocast(
    tail: nn.Module, args: object, layers: dict[str, Tensor]
) -> dict[str, Tensor]:
    if not torch.is_autocast_enabled("cpu"):
        return layers
    return {name: values * float("nan") for name, values in layers.items()}
