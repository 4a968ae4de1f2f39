"""Fine-tuning in parts of a batch is fine-tuning on the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.optim import Optimizer

from callbacks import MemoryBudget, Phase, ProgressiveUnfreezing
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.finetune_task import FinetuneTask
from lazarus_pl.tasks.patch_task import PatchTask
from tests.conftest import Lazarus

CONFIG = Path(__file__).parents[2] / "configs" / "finetune" / "progressive.yaml"
STAGES = ("head", "tail.last", "tail.block6", "tail.block5")
BATCH, PART = 9, 4


class Listen(Callback):
    """Takes down the gradients of every optimizer step."""

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []

    def on_before_optimizer_step(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        optimizer: Optimizer,
    ) -> None:
        found = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
        self.gradients.append(torch.cat(found))


class Shortage(Callback):
    """Leaves room for few photos from the second batch on."""

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: Any,  # noqa: ANN401  # Lightning's signature
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (0, 1):
            pl_module.tail.last.register_forward_pre_hook(_no_room)


def _no_room(module: object, inputs: tuple[Tensor, ...]) -> None:
    if torch.is_grad_enabled() and len(inputs[0]) > PART:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture(scope="module")
def start(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = CachedFeatureDataModule(str(cache))
    run = trainer(2, [])
    run.fit(ClassificationTask("linear", **linked(data)), datamodule=data)
    path = tmp_path_factory.mktemp("start") / "start.ckpt"
    run.save_checkpoint(path)
    return path


@pytest.fixture
def data(viewed: Path) -> CachedFeatureDataModule:
    return CachedFeatureDataModule(str(viewed), ("grid16",), BATCH, views="all")


def train(
    start: Path,
    data: CachedFeatureDataModule,
    *callbacks: Callback,
    **options: Any,  # noqa: ANN401  # of any type
) -> tuple[FinetuneTask, Listen]:
    trained = {name: options.pop(name) for name in ("plugins", "epochs") if name in options}
    task = FinetuneTask(str(start), lr=1e-4, warmup=0.0, **linked(data), **options)
    listen = Listen()
    unfreezing = ProgressiveUnfreezing([Phase(0, STAGES)])
    run = trainer(trained.pop("epochs", 1), [unfreezing, listen, *callbacks], **trained)
    run.fit(task, datamodule=data)
    return task, listen


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize(
    "options",
    [
        {"class_weights": "balanced"},
        {"class_weights": "effective", "label_smoothing": 0.1},
        {"class_weights": "balanced", "mixup": 0.4},
        {"start_penalty": 0.5, "output_penalty": 0.5, "class_weights": "balanced"},
    ],
    ids=["balanced", "effective", "mixup", "penalties"],
)
def test_losses_of_parts_add_up(
    options: dict[str, Any], start: Path, data: CachedFeatureDataModule
) -> None:
    (task, whole), (_, split) = (
        train(start, data, *callbacks, **options)
        for callbacks in ([], [MemoryBudget(micro_batch=PART)])
    )
    counts = torch.tensor(data.class_counts)
    assert counts.max() > counts.min()
    assert len(whole.gradients) == len(split.gradients) == 3
    assert len(whole.gradients[0]) == sum(p.numel() for p in task.parameters() if p.requires_grad)
    # later steps start from weights that differ in their last bits
    assert distance(split.gradients[0], whole.gradients[0]) < 1e-4
    assert distance(split.gradients[2], whole.gradients[2]) < 1e-2


def test_in_float16_too(start: Path, data: CachedFeatureDataModule) -> None:
    (_, whole), (_, split) = (
        train(
            start,
            data,
            *callbacks,
            plugins=[MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", 128.0))],
        )
        for callbacks in ([], [MemoryBudget(micro_batch=PART)])
    )
    assert distance(split.gradients[0], whole.gradients[0]) < 0.02


def test_gradient_checkpointing_gives_the_same(
    start: Path, data: CachedFeatureDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = train(start, data)
    from lazarus_pl.encoder import encoder_tail

    calls = []
    again = encoder_tail.checkpoint
    monkeypatch.setattr(
        encoder_tail, "checkpoint", lambda *a, **k: calls.append(0) or again(*a, **k)
    )

    class Begin(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert isinstance(pl_module, FinetuneTask)
            pl_module.set_grad_checkpointing()

    _, less = train(start, data, Begin())
    assert len(calls) == 3 * len(("block5", "block6", "last"))
    assert distance(less.gradients[0], whole.gradients[0]) < 1e-6


def test_memory_that_runs_out_changes_nothing(start: Path, data: CachedFeatureDataModule) -> None:
    calm, _ = train(start, data, epochs=2)
    budget = MemoryBudget()
    with pytest.warns(UserWarning, match="9 of 9 rows at once did not fit into memory"):
        short, _ = train(start, data, budget, Shortage(), epochs=2)
    assert budget.micro_batch == PART
    begun = FinetuneTask(str(start), **linked(data))
    begun.setup("fit")
    ours, theirs, first = (
        torch.cat([p.detach().flatten() for p in task.parameters()])
        for task in (short, calm, begun)
    )
    assert distance(ours - first, theirs - first) < 0.02


@pytest.mark.slow
def test_the_command_line_sets_it_and_resuming_keeps_it(
    start: Path, viewed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazarus: Lazarus
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        *("fit", "-c", CONFIG, f"--data.init_args.cache={viewed}"),
        *(f"--model.init_args.start={start}", "--trainer.enable_progress_bar=false"),
    ]
    roomy = lazarus(*words, "--trainer.max_epochs=1", "--budget.gpu_memory=4GB")
    assert roomy.code == 0, roomy.err
    assert "in parts" not in roomy.out
    tight = lazarus(*words, "--trainer.max_epochs=1", "--budget.micro_batch=6")
    assert tight.code == 0, tight.err
    assert "memory: batches of 27 in parts of 6" in tight.out
    last = "lightning_logs/version_1/checkpoints/last.ckpt"
    state = torch.load(last, weights_only=True)["callbacks"]["MemoryBudget"]
    assert state["micro_batch"] == 6
    more = lazarus(*words, "--trainer.max_epochs=2", f"--ckpt_path={last}")
    assert more.code == 0, more.err
    assert "memory: batches of 27 in parts of 6" in more.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget.gpu_memory=4"], "'4' is no amount of memory: give one such as 4GB"),
        (["--budget.gpu_memory=20MB"], "a training step on 1 of 27 rows takes"),
        (["--budget.micro_batch=0"], "micro_batch is 1 or more, not 0"),
        (["--budget.gpu_memry=4GB"], "did you mean"),
        (
            ["--trainer.callbacks+={class_path: MemoryBudget}"],
            "set --budget.gpu_memory or --budget.micro_batch",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence(
    words: list[str],
    said: str,
    start: Path,
    viewed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lazarus: Lazarus,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = lazarus(
        *("fit", "-c", CONFIG, f"--data.init_args.cache={viewed}", *words),
        *(f"--model.init_args.start={start}", "--trainer.enable_progress_bar=false"),
    )
    assert done.code == 2
    assert said in done.err
    assert done.err.count("lazarus: error:") == 1
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("size", "parts"), [(16, (1, 4, 8)), (2, (1,))])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_losses_of_lesions_add_up(
    weights: str, size: int, parts: tuple[int, ...], cache: Path
) -> None:
    # how many photos of a part are ill, and with it a mean over their patches, differs
    gradients = {}
    options = {"dropout": 0.0, "patch_dropout": 0.0, "lesions_from": 0.0}
    for part in (size, *parts):
        torch.manual_seed(0)
        data = CachedFeatureDataModule(str(cache), ("grid16", "grid32"), size)
        task = PatchTask("patches", options, class_weights=weights, **linked(data))
        gradients[part] = named_gradients(task, data, MemoryBudget(micro_batch=part))
    whole = gradients.pop(size)
    assert any(name.startswith("head.lesion.") for name in whole)
    assert whole.keys() == {name for name, _ in task.named_parameters()}
    for part, found in gradients.items():
        for name, gradient in whole.items():
            torch.testing.assert_close(
                found[name], gradient, rtol=1e-3, atol=1e-6, msg=f"{name} in parts of {part}"
            )


@pytest.mark.parametrize(
    ("room", "words", "said"),
    [
        (0, [], "set data.init_args.batch_size to fewer photos, or for fit --budget.gpu_memory"),
        (0, ["--budget.gpu_memory=4GB"], "a validation step on 1 of 9 rows takes more than there"),
        (4, ["--budget.gpu_memory=4GB"], ""),
        (4, ["--budget.micro_batch=4"], ""),
    ],
)
def test_validation_that_does_not_fit_is_taken_in_parts_or_is_one_sentence(
    room: int,
    words: list[str],
    said: str,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lazarus: Lazarus,
) -> None:
    step, sizes = ClassificationTask.validation_step, []

    def short(task: ClassificationTask, batch: dict[str, Any], batch_idx: int) -> None:
        if len(batch["target"]) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nMore")
        sizes.append(len(batch["target"]))
        step(task, batch, batch_idx)

    monkeypatch.chdir(tmp_path)
    config = CONFIG.parents[1] / "heads" / "linear.yaml"
    fit = ("fit", "-c", config, f"--data.init_args.cache={cache}", "--trainer.max_epochs=1")
    quiet = "--trainer.enable_progress_bar=false"
    whole = lazarus(*fit, quiet)
    monkeypatch.setattr(ClassificationTask, "validation_step", short)
    done = lazarus(*fit, quiet, *words)
    assert "Traceback" not in done.err
    if said:
        assert done.code == 2
        assert said in done.err
        assert done.err.count("lazarus: error:") == 1
        return
    assert (whole.code, done.code) == (0, 0), done.err
    assert max(sizes) <= room
    scores = [
        torch.load(path, weights_only=True)["lazarus"]["scores"]
        for path in sorted(tmp_path.rglob("best.ckpt"))
    ]
    # training in parts changes weights in their last bits
    assert scores[0] == pytest.approx(scores[1], rel=0.01 if "micro" in words[0] else 1e-4)


def test_patches_are_measured_too(cache: Path) -> None:
    data = CachedFeatureDataModule(str(cache), ("grid16", "grid32"), BATCH)
    budget = MemoryBudget(10**9)
    trainer(1, [budget]).fit(PatchTask("patches", **linked(data)), datamodule=data)
    assert budget.micro_batch == BATCH


def test_patches_are_not_mixed(cache: Path) -> None:
    data = CachedFeatureDataModule(str(cache), ("grid16", "grid32"))
    with pytest.raises(LazarusError, match=r"mixup 0\.2 cannot be with the head 'patches'"):
        PatchTask("patches", mixup=0.2, **linked(data))


def linked(data: CachedFeatureDataModule) -> dict[str, Any]:
    names = ("class_names", "class_counts", "feature_shapes", "encoder")
    return {name: getattr(data, name) for name in names}


def named_gradients(
    task: PatchTask, data: CachedFeatureDataModule, budget: MemoryBudget
) -> dict[str, Tensor]:
    """Those of the first optimizer step."""
    found: dict[str, Tensor] = {}

    class Keep(Callback):
        def on_before_optimizer_step(
            self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
        ) -> None:
            named = pl_module.named_parameters()
            found.update((n, p.grad.clone()) for n, p in named if p.grad is not None)

    trainer(1, [budget, Keep()], limit_train_batches=1).fit(task, datamodule=data)
    return found


def trainer(
    epochs: int,
    callbacks: list[Callback],
    **options: Any,  # noqa: ANN401  # the trainer's own
) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **options,
    )
