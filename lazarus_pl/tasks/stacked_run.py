"""One of several trainings that share a pass over the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from callbacks.known_gradients import with_known_gradients
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.show_result import draw_confusion, log_hparams


class StackedRun:
    """What a trainer would keep for a run that it trains alone.

    It draws the random numbers that it would have drawn alone.

    Args:
        task: Is trained.
        callbacks: Of the run; must hold a :class:`ModelCheckpoint` that keeps one best file, and
            may hold an :class:`EarlyStopping`. The others do nothing, but their states are saved.
        logger: Of the run.
        random: State of the CPU's random numbers once the seed was set and the task built.

    Attributes:
        stopped: Whether it trains no more.
        epochs: Epochs trained.
        checkpoint: Knows the best file.
    """

    def __init__(
        self,
        task: ClassificationTask,
        callbacks: Sequence[Callback],
        logger: TensorBoardLogger,
        random: Tensor,
    ) -> None:
        self.task = task
        self.stopped = False
        self.epochs = self._steps = 0
        self.checkpoint = next(c for c in callbacks if isinstance(c, ModelCheckpoint))
        self._stopping = next((c for c in callbacks if isinstance(c, EarlyStopping)), None)
        self._callbacks = callbacks
        self._logger = logger
        self._random = random
        self._random_on_gpu: Tensor | None = None
        self._scores: dict[str, Tensor] = {}
        self._confusion: Tensor | None = None
        self._best: dict[str, Any] = {}

    @property
    def best(self) -> Path:
        """File of the best epoch."""
        folder = self.checkpoint.dirpath or Path(self._logger.log_dir) / "checkpoints"
        return Path(folder) / f"{self.checkpoint.filename}{self.checkpoint.FILE_EXTENSION}"

    def begin(self) -> None:
        """Writes hparams.yaml."""
        self.checkpoint.dirpath = str(self.best.parent)
        # as Lightning does, but for what its command line adds for itself
        known = self.task.hparams_initial.items()
        self._logger.log_hyperparams({k: v for k, v in known if k != "_class_path"})
        self._logger.save()

    def learn(self, batch: Mapping[str, Any], features: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch; its gradients are found at once, so that one run takes memory."""
        parameters = [p for p in self.task.parameters() if p.requires_grad]
        with self._own_random_numbers():
            loss = self.task.learn(batch, features)
        return with_known_gradients(loss, parameters)

    def judge(self, batch: Mapping[str, Any], features: Mapping[str, Tensor]) -> None:
        """Scores a batch of val."""
        self.task.judge(batch, features, self.task.val_scores)

    def end_validation(self, trainer: Trainer) -> None:
        """Logs the scores of val."""
        scores, confusion = self.task.val_scores.compute()
        self.task.val_scores.reset()
        # Lightning forgets the scores of the few batches that it tries before training
        if trainer.sanity_checking:
            return
        self._scores, self._confusion = scores, confusion
        self._log(scores, trainer)

    def end_epoch(self, trainer: Trainer) -> None:
        """Logs the scores of train; stops if those of val have not risen for long.

        Raises:
            LazarusError: If training ends before val is scored.
        """
        if not self._scores:
            raise LazarusError("val is not scored before training ends: train for longer")
        scores, _ = self.task.train_scores.compute()
        self.task.train_scores.reset()
        self._log(scores, trainer)
        self.epochs, self._steps = trainer.current_epoch + 1, trainer.global_step
        if self._stopping is not None and self._stays_behind(self._stopping):
            self._stopping.stopped_epoch = trainer.current_epoch
            self.stopped = True

    def update_best(self) -> bool:
        """Takes down the score of the last validation, and says whether it is the best so far."""
        keeps = self.checkpoint
        score = self._scores[str(keeps.monitor)]
        worst, better = (math.inf, torch.lt) if keeps.mode == "min" else (-math.inf, torch.gt)
        score = torch.where(score.isnan(), worst, score)
        keeps.current_score = score
        if keeps.best_model_score is not None and not better(score, keeps.best_model_score):
            return False
        path = str(self.best)
        keeps.best_model_score = keeps.kth_value = score
        keeps.best_model_path = keeps.kth_best_model_path = path
        keeps.best_k_models = {path: score}
        return True

    def fill(self, checkpoint: dict[str, Any], place: int, trainer: Trainer) -> None:
        """Makes the checkpoint of all runs that of this one.

        Args:
            checkpoint: As Lightning made it, with one optimizer that has a group for each run.
            place: Which group is this run's.
            trainer: Of all runs.
        """
        task = self.task
        checkpoint["state_dict"] = task.state_dict()
        checkpoint["optimizer_states"] = [_of_group(checkpoint["optimizer_states"][0], place)]
        checkpoint["lr_schedulers"] = [_of_schedule(checkpoint["lr_schedulers"][0], place)]
        states = {callback.state_key: callback.state_dict() for callback in self._callbacks}
        checkpoint["callbacks"] = {key: state for key, state in states.items() if state}
        checkpoint[task.CHECKPOINT_HYPER_PARAMS_NAME] = "kwargs"
        checkpoint[task.CHECKPOINT_HYPER_PARAMS_KEY] = dict(task.hparams)
        assert self._confusion is not None
        told = task.described(trainer, self._scores, self._confusion)
        self._best = checkpoint["lazarus"] = told

    def end(self) -> None:
        """Shows the best epoch in TensorBoard, when the run trains no more."""
        confusion, names = torch.tensor(self._best["confusion"]), self.task.class_names
        draw_confusion(self._logger, "val", confusion, names, self._steps)
        log_hparams(self._logger, self.task.hparams, self._best["scores"], self._steps)
        self._logger.finalize("success")

    def _log(self, scores: Mapping[str, Tensor], trainer: Trainer) -> None:
        values = {name: float(value) for name, value in scores.items()}
        # as Lightning counts steps
        step = trainer.global_step - 1
        self._logger.log_metrics({**values, "epoch": trainer.current_epoch}, step)
        self._logger.save()

    def _stays_behind(self, stopping: EarlyStopping) -> bool:
        score = self._scores[stopping.monitor]
        if stopping.check_finite and not torch.isfinite(score):
            return True
        if stopping.monitor_op(score - stopping.min_delta, stopping.best_score.to(score.device)):
            stopping.best_score, stopping.wait_count = score, 0
            return False
        stopping.wait_count += 1
        return stopping.wait_count >= stopping.patience

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        device = self.task.device
        gpu = device if device.type == "cuda" else None
        outer = torch.get_rng_state()
        torch.set_rng_state(self._random)
        if gpu is not None:
            outer_on_gpu = torch.cuda.get_rng_state(gpu)
            torch.cuda.set_rng_state(
                outer_on_gpu if self._random_on_gpu is None else self._random_on_gpu, gpu
            )
        yield
        self._random = torch.get_rng_state()
        torch.set_rng_state(outer)
        if gpu is not None:
            self._random_on_gpu = torch.cuda.get_rng_state(gpu)
            torch.cuda.set_rng_state(outer_on_gpu, gpu)


def _of_group(state: dict[str, Any], place: int) -> dict[str, Any]:
    """An optimizer's state with one of its groups only, numbered anew."""
    group = state["param_groups"][place]
    mine = enumerate(group["params"])
    return {
        "state": {new: state["state"][old] for new, old in mine if old in state["state"]},
        "param_groups": [{**group, "params": list(range(len(group["params"])))}],
    }


def _of_schedule(state: dict[str, Any], place: int) -> dict[str, Any]:
    """A schedule's state with what it keeps for one group only."""
    return {k: [v[place]] if isinstance(v, list) else v for k, v in state.items()}
