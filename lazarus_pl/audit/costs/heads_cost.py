"""What training heads on the cache will cost: real steps on a sample's cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.optim import AdamW

from lazarus_pl.audit.costs.memory import CONTEXT_MB, FLOAT_BYTES, MB, SavedBytes, resident_mb
from lazarus_pl.audit.costs.stage_cost import StageCost
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.datamodules.cached_dataset import Batch, CachedDataset
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.fit_words import QUIET, fit_words
from lazarus_pl.lightning_cli import LazarusCLI, quiet
from lazarus_pl.limited_threads import limited_threads
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.adamw_with_cosine import takes_fused_steps
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.two_processes import part_count, pays, training_cost

HEADS = ("linear", "mlp", "attention")
LEARNING_RATES = 3

_STEPS = 2
_FEW, _MORE = 1, 5
# seconds to start a second process
_STARTING = 6.0
# weights, gradients and AdamW's two moments
_COPIES = 4


@dataclass(frozen=True)
class _HeadProbe:
    layers: tuple[str, ...]
    shares: bool
    device: torch.device
    values: int
    epochs: int
    train_seconds: float
    val_seconds: float
    gpu_mb: float
    checkpoint_mb: float


def probe_heads(cache: Path, counts: Mapping[str, int], folder: Path) -> list[StageCost]:
    """Times steps of each shipped head, and what Lightning adds to a run and to an epoch.

    Args:
        cache: Cache of a sample.
        counts: Photos of ``train`` and ``val`` of the whole dataset.
        folder: Where trial runs are written.

    Returns:
        The cost of the nine runs, and of one run of the attention head over patches. Epochs are
        those that the configs allow: early stopping only makes it less.
    """
    quiet()
    fixed, per_epoch = _overhead(cache, folder)
    threads = torch.get_num_threads()
    probes = {name: _probe(name, cache) for name in HEADS}
    alone = probes["attention"]
    is_shared = _is_shared(list(probes.values()), counts["train"], threads)
    if is_shared:
        with limited_threads(threads // 2):
            probes = {name: _probe(name, cache) for name in HEADS}
    steps = {name: _steps(probe, counts) for name, probe in probes.items()}
    overhead = LEARNING_RATES * len(HEADS) * fixed + per_epoch * _epochs(list(probes.values()))
    # pooled features of all photos are held in memory, grids are mapped
    ram = resident_mb() + (counts["train"] + counts["val"]) * _pooled_mb(cache)
    nine = overhead + LEARNING_RATES * sum(steps.values())
    share = LEARNING_RATES * steps["attention"] / nine
    bottleneck = "overhead" if overhead > nine / 2 else "optimizer"
    if is_shared:
        nine = (nine + _STARTING) / 2
    return [
        StageCost(
            stage="nine heads",
            seconds=nine,
            disk_mb=LEARNING_RATES * sum(probe.checkpoint_mb for probe in probes.values()),
            ram_mb=ram,
            gpu_mb=max(probe.gpu_mb for probe in probes.values()),
            bottleneck=bottleneck,
            advice=(
                "few photos: a larger trainer.max_epochs costs little"
                if bottleneck == "overhead"
                else f"the attention head takes {share:.0%} of it: leave it out while you try "
                "other things, or lower its trainer.max_epochs"
            ),
        ),
        StageCost(
            stage="patch attention",
            seconds=fixed + alone.epochs * per_epoch + _steps(alone, counts),
            disk_mb=alone.checkpoint_mb,
            ram_mb=ram,
            gpu_mb=alone.gpu_mb,
            bottleneck="optimizer",
            advice="a GPU, or data.init_args.layers [grid32]: a quarter of the patches",
        ),
    ]


def _steps(probe: _HeadProbe, counts: Mapping[str, int]) -> float:
    """Seconds of all steps of a run."""
    epoch = counts["train"] * probe.train_seconds + counts["val"] * probe.val_seconds
    return probe.epochs * epoch


def _is_shared(probes: Sequence[_HeadProbe], photos: int, threads: int) -> bool:
    """Whether the grid would be trained in two processes, as it judges that itself."""
    stacks: dict[object, list[float]] = {}
    for probe in probes:
        costs = [training_cost(probe.epochs, photos, probe.values)] * LEARNING_RATES
        for number, cost in enumerate(costs):
            key = (probe.layers, probe.epochs) if probe.shares else (probe, number)
            stacks.setdefault(key, []).append(cost)
    parts: list[float] = []
    for stack in stacks.values():
        count = part_count(sum(stack), len(stack))
        parts += [sum(stack) / count] * count
    return pays(parts, [probe.device for probe in probes], threads)


def _epochs(probes: Sequence[_HeadProbe]) -> int:
    """Passes over the data: one for all runs of the same layers and epochs, if they can share."""
    shared = {(probe.layers, probe.epochs) for probe in probes if probe.shares}
    alone = [LEARNING_RATES * probe.epochs for probe in probes if not probe.shares]
    return sum(epochs for _, epochs in shared) + sum(alone)


def _overhead(cache: Path, folder: Path) -> tuple[float, float]:
    """Seconds that a run and an epoch take when there is next to nothing to learn."""
    few, more = (_timed_fit(cache, folder, epochs) for epochs in (_FEW, _MORE))
    per_epoch = max(0.0, (more - few) / (_MORE - _FEW))
    return max(0.0, few - _FEW * per_epoch), per_epoch


def _timed_fit(cache: Path, folder: Path, epochs: int) -> float:
    started = time.perf_counter()
    LazarusCLI(
        [
            *fit_words(shipped_config("heads/linear.yaml"), {"trainer.max_epochs": epochs}),
            f"--data.init_args.cache={cache}",
            f"--trainer.default_root_dir={folder}",
            *QUIET,
        ]
    )
    return time.perf_counter() - started


def _probe(name: str, cache: Path) -> _HeadProbe:
    cli = LazarusCLI(
        [
            f"--config={shipped_config(f'heads/{name}.yaml')}",
            f"--data.init_args.cache={cache}",
            "--trainer.logger=false",
            "--trainer.enable_progress_bar=false",
        ],
        run=False,
    )
    task, data = cli.model, cli.datamodule
    assert isinstance(task, ClassificationTask)
    assert isinstance(data, CachedFeatureDataModule)
    batch_size = data.batch_size
    dataset = data.train_dataloader().dataset
    assert isinstance(dataset, CachedDataset)
    places = torch.randint(len(dataset), (batch_size,), generator=torch.Generator()).tolist()
    device = cli.trainer.strategy.root_device
    task.to(device)

    def draw() -> Batch:
        batch: Batch = move_data_to_device(dataset.__getitems__(places), device)
        return batch

    optimizer = AdamW(task.parameters(), fused=takes_fused_steps(cli.trainer, device))
    with cli.trainer.precision_plugin.forward_context():
        train = _best_of(lambda: _step(task, draw(), optimizer), device)
        with torch.inference_mode():
            val = _best_of(lambda: task(draw()["features"]), device)
        batch = draw()
        with SavedBytes() as saved:
            _loss(task, batch)
    weights = FLOAT_BYTES * sum(p.numel() for p in task.parameters())
    inputs = sum(values.numel() * FLOAT_BYTES for values in batch["features"].values())
    has_scaler = getattr(cli.trainer.precision_plugin, "scaler", None) is not None
    return _HeadProbe(
        layers=tuple(data.layers),
        # a loss scaler is of one run
        shares=not has_scaler and device.type in ("cpu", "cuda"),
        device=device,
        values=sum(map(prod, data.feature_shapes.values())),
        epochs=int(cli.trainer.max_epochs or 1),
        train_seconds=train / batch_size,
        val_seconds=val / batch_size,
        gpu_mb=CONTEXT_MB + (_COPIES * weights + saved.total + inputs) / MB,
        checkpoint_mb=(_COPIES - 1) * weights / MB,
    )


def _pooled_mb(cache: Path) -> float:
    (channels,) = FeatureCache(cache).feature_shapes["pooled"]
    return 2 * channels / MB


def _step(task: ClassificationTask, batch: Batch, optimizer: AdamW) -> None:
    torch.autograd.backward(_loss(task, batch))
    optimizer.step()
    optimizer.zero_grad()


def _loss(task: ClassificationTask, batch: Batch) -> Tensor:
    loss: Tensor = task.loss(task(batch["features"]), batch["target"])
    return loss


def _best_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the quicker of two calls, after one that warms up."""
    times = []
    for _ in range(1 + _STEPS):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            # a GPU is told what to do, and is not done when that is
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])
