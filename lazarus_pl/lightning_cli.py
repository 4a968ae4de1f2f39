"""LightningCLI over our tasks and DataModules."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from jsonargparse.typing import class_from_function
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks import (
    CheckpointVersions,
    GradientMonitor,
    MemoryBudget,
    MetricRollback,
    MixedPrecisionGuard,
    ProgressiveUnfreezing,
    TrainingTimeline,
)
from callbacks.carry_best import CarryBest
from callbacks.predictions_csv import PredictionsCSV
from lazarus_pl import __version__

# imported so that YAML may use the bare class names
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.datamodules.patch_grid_data_module import PatchGridDataModule
from lazarus_pl.encoder.find_device import find_device
from lazarus_pl.encoder.precision import best_training_precision
from lazarus_pl.errors import LazarusError
from lazarus_pl.fit_words import LOGS_HP_METRIC
from lazarus_pl.keep_freed_memory import keep_freed_memory
from lazarus_pl.lightning_errors import mistake_behind, translate_errors
from lazarus_pl.memory_amount import read_memory
from lazarus_pl.save_fit_config import SaveFitConfig
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.finetune_task import FinetuneTask
from lazarus_pl.tasks.patch_task import PatchTask
from lazarus_pl.tasks.read_checkpoint import read_checkpoint
from lazarus_pl.verb_parser import VerbParser, one_sentence

__all__ = [
    "CachedFeatureDataModule",
    "CheckpointVersions",
    "ClassificationTask",
    "FinetuneTask",
    "GradientMonitor",
    "LazarusCLI",
    "MetricRollback",
    "MixedPrecisionGuard",
    "PatchGridDataModule",
    "PatchTask",
    "ProgressiveUnfreezing",
    "TrainingTimeline",
    "run_lightning",
]

_SCORING = ("validate", "test", "predict")
_FOUND_BY_LIGHTNING = ("last", "hpc")
_TO_SCORE = ("pytorch-lightning_version",)
_TO_CONTINUE = (*_TO_SCORE, "optimizer_states", "lr_schedulers", "loops")
_LINKS = ("class_names", "class_counts", "feature_shapes", "encoder")


class _Parser(VerbParser, LightningArgumentParser):
    """LightningCLI's parser, with errors of one sentence."""

    @property
    def known_options(self) -> list[str]:
        """With those of our own classes, which a parser knows only when it has seen a config."""
        known = super().known_options
        ours = {"data": CachedFeatureDataModule, "model": ClassificationTask}
        return known + [
            f"--{key}.init_args.{name}"
            for key, kind in ours.items()
            if f"--{key}" in known
            for name in signature(kind).parameters
        ]


class LazarusCLI(LightningCLI):
    """LightningCLI that joins tasks with the data they learn from.

    What a task must know of the data (class names and counts, feature shapes, the encoder) is
    linked from the DataModule's properties, which are there before ``setup``.

    Args:
        args: The command line from the subcommand on.
        run: Run the subcommand; otherwise only build trainer, model and data.
        callbacks: Callbacks beside those of the config.
    """

    def __init__(
        self, args: Sequence[str], run: bool = True, callbacks: Sequence[Callback] = ()
    ) -> None:
        self._asked = args[0] if args else ""
        keep_freed_memory()
        with translate_errors():
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                seed_everything_default=0,
                save_config_callback=SaveFitConfig,
                save_config_kwargs={"overwrite": True},
                parser_kwargs={"prog": "lazarus", "version": __version__},
                trainer_defaults={"callbacks": list(callbacks)},
                args=list(args),
                run=run,
            )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # of one call, not all
        """The one that is asked for: the parser of each takes as long to build as to use."""
        every = super().subcommands()
        return {self._asked: every[self._asked]} if self._asked in every else every

    def init_parser(self, **kwargs: object) -> LightningArgumentParser:
        """Builds parsers whose errors are one sentence."""
        self.parser_class = _Parser
        return super().init_parser(**kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links data to model, and the run's seed to the order of the photos; adds the budget."""
        parser.add_lightning_class_args(_BudgetArguments, "budget")
        for name in _LINKS:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        assert isinstance(parser, VerbParser)
        parser.let_flags_stand_alone()

    def before_instantiate_classes(self) -> None:
        """Refuses a checkpoint that is missing.

        Raises:
            LazarusError: If there is none to score, or not the file that is named.
        """
        path = self._ckpt_path
        if path is None and self.subcommand in _SCORING:
            raise LazarusError(
                f"lazarus {self.subcommand} needs a trained head: give a checkpoint of lazarus fit "
                "or lazarus grid with --ckpt_path"
            )
        if path is not None and self.subcommand in _SCORING:
            self._begin_with(path)
        if path is None or (self.subcommand == "fit" and path in _FOUND_BY_LIGHTNING):
            return
        if not Path(path).is_file():
            raise LazarusError(
                f"the checkpoint '{path}' does not exist: give the path of one with --ckpt_path"
            )

    def _begin_with(self, path: str) -> None:
        """A fine-tuned checkpoint holds all that scoring it needs; its start may be gone."""
        model = self._get(self.config, "model")
        if model.class_path.rpartition(".")[2] == FinetuneTask.__name__:
            model.init_args.start = path

    def instantiate_classes(self) -> None:
        """Builds data, model and trainer.

        Raises:
            LazarusError: What one of them has to say, without the parser's account of it.
        """
        try:
            super().instantiate_classes()
        except (TypeError, ValueError) as error:
            behind = mistake_behind(error)
            raise behind or LazarusError(one_sentence(str(error), [])) from error

    def after_instantiate_classes(self) -> None:
        """Refuses a checkpoint that cannot be used.

        Raises:
            LazarusError: If it is damaged, not ours, or has no more than weights to train on.
        """
        if self._ckpt_path is not None and Path(self._ckpt_path).is_file():
            self._check(self._ckpt_path)

    def _check(self, path: str) -> None:
        if not isinstance(self.model, ClassificationTask):
            return
        content = read_checkpoint(Path(path))
        needed = _TO_CONTINUE if self.subcommand == "fit" else _TO_SCORE
        if missing := [key for key in needed if key not in content]:
            raise LazarusError(
                f"the checkpoint '{path}' lacks {', '.join(missing)}: lazarus {self.subcommand} "
                "takes one that was saved whole (save_weights_only: false), of a lazarus run that "
                "of a stage, such as RUN/finetune/checkpoints/last.ckpt"
            )

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        """Trains on what works here, in its best precision, where the config names none.

        Scores are those of float32, as ``lazarus run`` and ``lazarus classify`` have them.

        Raises:
            LazarusError: If the trainer would only find out in the middle that it cannot.
        """
        asked = self._get(self.config_init, "trainer", {})
        if (batches := asked.get("accumulate_grad_batches", 1)) < 1:
            raise LazarusError(
                f"trainer.accumulate_grad_batches {batches} cannot be: give a number of at least 1"
            )
        if any(isinstance(callback, MemoryBudget) for callback in _listed(asked.get("callbacks"))):
            raise LazarusError(
                "the callback MemoryBudget is there already: set --budget.gpu_memory or "
                "--budget.micro_batch, and leave it out of trainer.callbacks"
            )
        accelerator = _usable(asked.get("accelerator", "auto"))
        usual = "32-true" if self.subcommand in _SCORING else _best_precision(accelerator)
        precision = asked.get("precision") or usual
        chosen: dict[str, object] = {"accelerator": accelerator, "precision": precision}
        if asked.get("devices", "auto") == "auto" and not _is_launched():
            # Lightning takes all GPUs that there are, and starts this program once for each
            chosen["devices"] = 1
        if asked.get("logger") in (None, True):
            # where Lightning puts its own
            root = asked.get("default_root_dir") or "."
            chosen["logger"] = TensorBoardLogger(root, default_hp_metric=LOGS_HP_METRIC)
        return super().instantiate_trainer(**{**chosen, **kwargs})

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """A checkpoint executes nothing, whatever the config says and wherever it is found."""
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def _run_subcommand(self, subcommand: str) -> None:
        """Says what is wrong with a checkpoint that Lightning found by itself."""
        try:
            super()._run_subcommand(subcommand)
        except (UnpicklingError, EOFError, KeyError, RuntimeError):
            if self.trainer.ckpt_path is not None:
                self._check(str(self.trainer.ckpt_path))
            raise

    def before_fit(self) -> None:
        """Keeps the best checkpoint of the run that is continued."""
        if self._ckpt_path is not None:
            self._callbacks.append(CarryBest())

    def after_fit(self) -> None:
        """Says so where fine-tuning was in vain, and where batches were taken in parts."""
        if self.split:
            print(f"memory: {self.split}")
        # scores of what was trained on say nothing
        told = () if "val" in getattr(self.datamodule, "train_on", ()) else self._callbacks
        for callback in told:
            if isinstance(callback, MetricRollback) and callback.start_is_best:
                print(
                    f"no epoch was better on val than the start ({callback.monitor} "
                    f"{callback.best_score:.4f})"
                )

    def before_predict(self) -> None:
        """Has the probabilities written, unless the config names a writer of its own."""
        if not any(isinstance(c, BasePredictionWriter) for c in self._callbacks):
            self._callbacks.append(PredictionsCSV())

    def after_predict(self) -> None:
        """Says where they are."""
        for callback in self._callbacks:
            if isinstance(callback, PredictionsCSV):
                print(f"predictions: '{callback.path_of(self.trainer)}'")

    @property
    def split(self) -> str:
        """How batches were taken in parts; nothing where they were not."""
        budgets = (c for c in self._callbacks if isinstance(c, MemoryBudget))
        return next((str(budget) for budget in budgets if budget.is_split), "")

    @property
    def _callbacks(self) -> list[Callback]:
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        return callbacks

    @property
    def _ckpt_path(self) -> str | None:
        path = self._get(self.config, "ckpt_path")
        return None if path is None else str(path)

    def _parse_ckpt_path(self) -> None:
        """Lets the config and the command line decide, not the checkpoint's hyperparameters.

        A checkpoint that does not fit them is refused when it is loaded, with the reason.
        """

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise LazarusError(
                f"seed_everything {self._get(self.config, 'seed_everything')} cannot be: give a "
                "whole number from 0 to 4294967295"
            ) from error


def _memory_budget(gpu_memory: str | None = None, micro_batch: int | None = None) -> MemoryBudget:
    """What training steps may take; a batch that is too large is taken in parts.

    Args:
        gpu_memory: Such as 4GB: how large the parts may be is measured before the first step.
        micro_batch: Most photos at once.
    """
    return MemoryBudget(None if gpu_memory is None else read_memory(gpu_memory), micro_batch)


# once: LightningCLI would make it of the function for every parser, which looks through all modules
_BudgetArguments = class_from_function(_memory_budget)


def _listed(callbacks: object) -> list[object]:
    """One, several or no callbacks as a list."""
    return callbacks if isinstance(callbacks, list) else [callbacks]


def _usable(accelerator: str) -> str:
    """Leaves a GPU aside that this build of torch has no kernels for, unless it was named."""
    if accelerator != "auto" or not torch.cuda.is_available():
        return accelerator
    return "cpu" if find_device("auto").type == "cpu" else accelerator


def _is_launched() -> bool:
    """Whether torchrun or SLURM has started a process for each device already."""
    return TorchElasticEnvironment.detect() or SLURMEnvironment.detect()


def _best_precision(accelerator: str) -> str:
    cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    precision = best_training_precision(torch.device("cuda" if cuda else "cpu"))
    return "32-true" if precision == "32" else f"{precision}-mixed"


def run_lightning(args: Sequence[str], callbacks: Sequence[Callback] = ()) -> LazarusCLI:
    """Runs ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        args: The command line from the subcommand on.
        callbacks: Callbacks beside those of the config.

    Raises:
        LazarusError: If the config, the data or the checkpoint is not as it must be.
    """
    quiet()
    with interruptible():
        return LazarusCLI(args, callbacks=callbacks)


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets Ctrl-C be a ``KeyboardInterrupt`` again, which the trainer turns into exit code 1."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if error.code == 1:
            raise KeyboardInterrupt from error
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def quiet() -> None:
    """Silences what Lightning says of choices that are made on purpose here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        # batches are fetched whole from memory: workers would slow that down
        ".*does not have many workers.*",
        ".*The number of training batches.*smaller than the logging interval.*",
        # every run has a folder of its own
        ".*The dirpath has changed from.*",
        # the task's own, on purpose
        ".*You have overridden `on_after_batch_transfer` in `LightningModule`.*",
        # we are the command line
        ".*args parameter is intended to run from within Python.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message=message)
