"""LightningCLI over our tasks and DataModules."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lazarus_pl import __version__

# imported so that YAML may use the bare class names
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.encoder.precision import best_precision
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.patch_task import PatchTask
from lazarus_pl.verb_parser import describe_options, one_sentence

__all__ = [
    "CachedFeatureDataModule",
    "ClassificationTask",
    "LazarusCLI",
    "PatchTask",
    "run_lightning",
]

_LINKS = ("class_names", "class_counts", "feature_shapes", "encoder")


class _Parser(LightningArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise LazarusError(one_sentence(message, describe_options(self))) from ex


class LazarusCLI(LightningCLI):
    """LightningCLI that joins tasks with the data they learn from.

    What a task must know of the data (class names and counts, feature shapes, the encoder) is
    linked from the DataModule's properties, which are there before ``setup``.

    Args:
        args: The command line from the subcommand on.
        run: Run the subcommand; otherwise only build trainer, model and data.
    """

    def __init__(self, args: Sequence[str], run: bool = True) -> None:
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "lazarus", "version": __version__},
            args=list(args),
            run=run,
        )

    def init_parser(self, **kwargs: object) -> LightningArgumentParser:
        """Builds parsers whose errors are one sentence."""
        self.parser_class = _Parser
        return super().init_parser(**kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links data to model, and the run's seed to the order of the photos."""
        for name in _LINKS:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)

    def instantiate_classes(self) -> None:
        """Builds data, model and trainer.

        Raises:
            LazarusError: What one of them has to say, without the parser's account of it.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise _mistake_behind(error) or error from error

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        """Trains in the best precision of the machine where the config names none."""
        asked = self._get(self.config_init, "trainer", {})
        precision = asked.get("precision") or _best_precision(asked.get("accelerator", "auto"))
        return super().instantiate_trainer(**{"precision": precision, **kwargs})

    def _parse_ckpt_path(self) -> None:
        """Lets the config and the command line decide, not the checkpoint's hyperparameters.

        A checkpoint that does not fit them is refused when it is loaded, with the reason.
        """


def _mistake_behind(error: BaseException | None) -> LazarusError | None:
    while error is not None and not isinstance(error, LazarusError):
        error = error.__cause__ or error.__context__
    return error


def _best_precision(accelerator: str) -> str:
    cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    precision = best_precision(torch.device("cuda" if cuda else "cpu"))
    return "32-true" if precision == "32" else f"{precision}-mixed"


def run_lightning(args: Sequence[str]) -> LazarusCLI:
    """Runs ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        LazarusError: If the config, the data or the checkpoint is not as it must be.
    """
    quiet()
    _check_checkpoint_path(args)
    try:
        with interruptible():
            return LazarusCLI(args)
    except MisconfigurationException as error:
        raise LazarusError(str(error)) from error


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
        # we are the command line
        ".*args parameter is intended to run from within Python.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def _check_checkpoint_path(args: Sequence[str]) -> None:
    for option, value in zip(args, [*args[1:], ""], strict=True):
        name, _, inline = option.partition("=")
        if name != "--ckpt_path":
            continue
        path = inline or value
        if path not in ("best", "last", "hpc", "registry", "null") and not Path(path).is_file():
            raise LazarusError(f"the checkpoint '{path}' does not exist: check --ckpt_path")
