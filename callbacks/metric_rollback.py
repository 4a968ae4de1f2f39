"""Back to the last good state when a validation got worse."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from callbacks import json_lines, snapshots
from callbacks.among_callbacks import among_callbacks
from callbacks.monitored_metric import monitored_metric, require_validation
from callbacks.progressive_unfreezing import ProgressiveUnfreezing
from callbacks.require import require

_FILE = "last_good.ckpt"


class MetricRollback(Callback):
    """Rolls a training back when the monitored metric got worse, or anything became non-finite.

    Each validation that beats the best score so far leaves a snapshot of model, optimizers,
    schedulers and loss scaler in RAM, and on disk as ``last_good.ckpt``. A score that is worse
    than the best by more than ``tolerance``, or a non-finite score, training loss or weight, brings
    that snapshot back before the next training batch, with smaller learning rates that stay small.
    Epochs, steps and other callbacks are not rewound: a run always ends. After ``max_rollbacks``
    the next fault stops the run; where ``min_epochs`` or ``min_steps`` forbid that, faults are
    rolled back as before until it may stop. When ``fit`` returns, also after early stopping or
    Ctrl-C, the module holds the weights of the best score. Each rollback is a line in
    ``rollbacks.jsonl``, and ``rollback/count`` is logged.

    Before the first score the snapshot is the state at the start. Where the trainer's sanity check
    runs the whole of validation (``num_sanity_val_steps=-1``), the start has a score too, and a
    fine-tuning that never beats it ends with the weights that it began with. The snapshot is part
    of the checkpoint, so that a run resumes exactly from any of them and from nothing else. Tensors
    that the two have in common are in the file once: a checkpoint of the best state is no larger,
    one of another state with all of its weights trained is about twice as large. The order of the
    data is not restored: after a rollback another one is wanted.

    ``EarlyStopping`` needs ``check_finite=False``, else it ends the run at the first NaN. A
    checkpoint that is written because of Ctrl-C holds the best weights, not the latest.

    Asked for in Lightning issue 13099. What is restored, and why loops and callbacks are not,
    follows the documentation of ``torch.optim.Optimizer.load_state_dict``, of
    ``torch.amp.GradScaler`` and of Lightning's checkpoint contents.

    Args:
        monitor: Name of a metric that validation logs.
        mode: Whether a small or a large value is good.
        tolerance: How much worse than the best a score may be, in the metric's own units.
        lr_factor: What each rollback multiplies all learning rates with.
        max_rollbacks: How often the run may be rolled back; the fault after that stops it, as
            early as the trainer may.
        cooldown: Number of validations after a rollback that may be worse without another one.
            Non-finite values are never tolerated.
        dirpath: Folder of ``rollbacks.jsonl`` and ``last_good.ckpt``; the trainer's log folder if
            None.
        check_every_n_steps: How often the training loss is asked for, which waits for the device.
        refreeze: Whether a ``ProgressiveUnfreezing`` goes back one phase at a rollback.

    Raises:
        MisconfigurationException: If an argument makes no sense, if validation does not log the
            metric, or if the strategy shards the weights.

    Example:
        >>> rollback = MetricRollback("val_loss", tolerance=0.02)
        >>> trainer = Trainer(max_epochs=20, callbacks=[rollback])
        >>> trainer.fit(module, train, val)  # doctest: +SKIP
        >>> rollback.best_score  # doctest: +SKIP
        0.31
    """

    best_score: float | None
    rollbacks: int
    restored_epoch: int | None
    _cooling: int
    _pending: dict[str, Any] | None
    _bad_loss: Tensor | None
    _exempt: list[str]
    _at_start: bool
    _snapshot: snapshots.Snapshot | None

    def __init__(
        self,
        monitor: str,
        mode: Literal["min", "max"] = "min",
        tolerance: float = 0.0,
        lr_factor: float = 0.5,
        max_rollbacks: int = 3,
        cooldown: int = 0,
        dirpath: str | Path | None = None,
        check_every_n_steps: int = 50,
        refreeze: bool = False,
    ) -> None:
        super().__init__()
        require(mode in ("min", "max"), f"mode is 'min' or 'max', not {mode!r}")
        require(0 <= tolerance < math.inf, f"tolerance is 0 or more, not {tolerance}")
        require(0 < lr_factor <= 1, f"lr_factor lies in (0, 1], not at {lr_factor}")
        require(max_rollbacks >= 0, f"max_rollbacks is 0 or more, not {max_rollbacks}")
        require(cooldown >= 0, f"cooldown is 0 or more, not {cooldown}")
        require(check_every_n_steps > 0, f"check_every_n_steps is not {check_every_n_steps}")
        self.monitor = monitor
        self.mode = mode
        self.tolerance = tolerance
        self.lr_factor = lr_factor
        self.max_rollbacks = max_rollbacks
        self.cooldown = cooldown
        self.dirpath = dirpath
        self.check_every_n_steps = check_every_n_steps
        self.refreeze = refreeze
        self._resumed = False
        self._start_score: float | None = None
        self._folder = Path()
        self._finished = False
        self._forget()

    @property
    def state_key(self) -> str:
        """Two rollbacks of different metrics keep their states apart."""
        return self._generate_state_key(monitor=self.monitor, mode=self.mode)

    @property
    def start_is_best(self) -> bool:
        """Whether the start was scored and no later state beat it."""
        return self._at_start and self.best_score is not None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses what cannot work before anything is trained."""
        if stage != "fit":
            return
        self._resumed = False
        self._start_score = None
        require(
            isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)),
            f"MetricRollback cannot copy the weights that {type(trainer.strategy).__name__} shards:"
            " use one device or strategy='ddp'",
        )
        for other in trainer.early_stopping_callbacks:
            if isinstance(other, EarlyStopping) and other.check_finite:
                rank_zero_warn(
                    f"EarlyStopping(monitor={other.monitor!r}) ends the run at the first non-finite"
                    " value, before it can be rolled back: give it check_finite=False"
                )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds the folder of the run."""
        # a path under a logger is broadcast, so every rank asks for it
        self._folder = Path(self.dirpath or trainer.log_dir or trainer.default_root_dir)
        self._finished = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the first snapshot, unless the run goes on from an earlier one."""
        require_validation(trainer, self, self.monitor)
        if not self._resumed and trainer.current_epoch == 0:
            self._forget()
        self._stop_if_spent(trainer)
        if self._snapshot is not None:
            return
        broken = sorted(snapshots.not_finite(pl_module))
        parameters = dict(pl_module.named_parameters())
        bad = [name for name in broken if name in parameters]
        require(not bad, f"the weights are not finite before the first step: see {bad[:3]}")
        # buffers such as masks of -inf are not finite by design
        self._exempt = broken
        self.best_score = self._start_score
        self._at_start = True
        self._snapshot = snapshots.take(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rolls back what the last validation condemned, after checkpoints were saved."""
        self._act(trainer)

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        """Rolls back in mid-epoch, where a validation or the loss condemned the weights."""
        self._act(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ANN401  # Lightning's signature
        batch_idx: int,
    ) -> None:
        """Notes a non-finite loss on the device, and asks for the note now and then."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            bad = ~loss.detach().isfinite().all()
            self._bad_loss = bad if self._bad_loss is None else self._bad_loss | bad
        if (batch_idx + 1) % self.check_every_n_steps == 0 and self._loss_was_bad(trainer):
            self._condemn(trainer, None, "the training loss is not finite")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decides: a new best state, a tolerable one, or a fault."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.sanity_checking:
            self._note_start(trainer)
            return
        score = self._score(trainer)
        cooling = self._cooling > 0
        self._cooling = max(0, self._cooling - 1)
        if self._pending is not None:
            return
        if fault := self._fault(trainer, pl_module, score, cooling):
            self._condemn(trainer, score, fault)
        elif self._worse_by(score) < 0:
            self.best_score = score
            self._at_start = False
            self._snapshot = snapshots.take(trainer)
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the number of rollbacks so far."""
        pl_module.log("rollback/count", float(self.rollbacks))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the best weights in place."""
        if self._pending is None and self.best_score is None:
            rank_zero_warn(
                f"no validation scored {self.monitor!r}: the weights are the latest, not the best"
            )
        self._finish(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the best weights in place where a resumed run had nothing left to train."""
        if not self._finished:
            self._finish(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Puts the best weights in place if the user ended the run."""
        if isinstance(exception, KeyboardInterrupt) and trainer.optimizers:
            self._finish(trainer)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, the snapshot included."""
        return {
            "best_score": self.best_score,
            "rollbacks": self.rollbacks,
            "restored_epoch": self.restored_epoch,
            "cooling": self._cooling,
            "pending": self._pending,
            "bad_loss": self._bad_loss is not None and bool(self._bad_loss),
            "exempt": list(self._exempt),
            "at_start": self._at_start,
            "snapshot": self._snapshot,
        }

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lets the file have once what snapshot and checkpoint have in common."""
        state = checkpoint["callbacks"][self.state_key]
        if state["snapshot"] is not None:
            # Lightning hands load_state_dict a copy, which shares nothing with the checkpoint
            state["snapshot"] = snapshots.sharing(state["snapshot"], checkpoint)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what a checkpoint knew."""
        self._resumed = True
        self.best_score = state_dict["best_score"]
        self.rollbacks = state_dict["rollbacks"]
        self.restored_epoch = state_dict.get("restored_epoch")
        self._cooling = state_dict["cooling"]
        self._pending = state_dict["pending"]
        self._bad_loss = torch.tensor(True) if state_dict["bad_loss"] else None
        self._exempt = list(state_dict["exempt"])
        self._at_start = state_dict.get("at_start", state_dict["best_score"] is None)
        self._snapshot = state_dict["snapshot"]

    def _forget(self) -> None:
        self.best_score = self.restored_epoch = None
        self.rollbacks = self._cooling = 0
        self._pending = self._bad_loss = self._snapshot = None
        self._exempt = []
        self._at_start = True

    def _note_start(self, trainer: Trainer) -> None:
        # a module may log nothing in the sanity check
        if math.isfinite(trainer.num_sanity_val_steps) or self.monitor not in (
            trainer.callback_metrics
        ):
            return
        score = self._score(trainer)
        self._start_score = score if math.isfinite(score) else None

    def _score(self, trainer: Trainer) -> float:
        value = monitored_metric(trainer, self, self.monitor)
        if trainer.world_size > 1:
            # one number for all ranks, so that they decide alike
            value = trainer.strategy.reduce(value.float(), reduce_op="mean")
        return float(value)

    def _fault(
        self, trainer: Trainer, module: LightningModule, score: float, cooling: bool
    ) -> str | None:
        if self._loss_was_bad(trainer):
            return "the training loss is not finite"
        broken = snapshots.not_finite(module) - set(self._exempt)
        if trainer.strategy.reduce_boolean_decision(bool(broken), all=False):
            return f"weights are not finite, first {min(broken, default='on another rank')!r}"
        if not math.isfinite(score):
            return f"{self.monitor} is not finite"
        if self._worse_by(score) > self.tolerance and not cooling:
            return f"{self.monitor} went from {self.best_score:.6g} to {score:.6g}"
        return None

    def _worse_by(self, score: float) -> float:
        """What a finite score lacks to the best one; below 0 if it is better."""
        if self.best_score is None:
            return -math.inf
        return score - self.best_score if self.mode == "min" else self.best_score - score

    def _loss_was_bad(self, trainer: Trainer) -> bool:
        bad = self._bad_loss is not None and bool(self._bad_loss)
        return trainer.strategy.reduce_boolean_decision(bad, all=False)

    def _condemn(self, trainer: Trainer, score: float | None, reason: str) -> None:
        self._pending = {"reason": reason, "score": score, "epoch": trainer.current_epoch}
        self._stop_if_spent(trainer)

    def _stop_if_spent(self, trainer: Trainer) -> None:
        # one more than may be is of a stop that had to wait
        spent = self.rollbacks + (self._pending is not None) > self.max_rollbacks
        if spent:
            trainer.should_stop = True

    def _act(self, trainer: Trainer, ended: bool = False) -> None:
        """Rolls back if the state was condemned; does nothing otherwise."""
        if self._pending is None or self._snapshot is None:
            return
        # before the end it is min_epochs or min_steps that keep the training going
        stop = ended and self.rollbacks >= self.max_rollbacks
        self.rollbacks += not stop
        self._cooling = self.cooldown
        self._snapshot = snapshots.with_new_groups(self._snapshot, trainer)
        if not stop:
            self._snapshot = snapshots.shrunk(self._snapshot, self.lr_factor)
        snapshots.restore(trainer, self._snapshot)
        self.restored_epoch = None if self._at_start else self._snapshot["epoch"]
        if self.refreeze:
            for unfreezing in among_callbacks(trainer, ProgressiveUnfreezing):
                unfreezing.refreeze(trainer, trainer.lightning_module)
        self._tell(trainer, self._pending, "stop" if stop else "rollback")
        self._pending = self._bad_loss = None

    def _finish(self, trainer: Trainer) -> None:
        self._finished = True
        self._act(trainer, ended=True)
        if self._snapshot is None:
            return
        if self.best_score is None and not snapshots.not_finite(trainer.lightning_module):
            return
        snapshots.restore(trainer, self._snapshot)
        snapshots.restore_scored_weights(trainer, self._snapshot)

    def _save(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero or _is_trial(trainer) or self._snapshot is None:
            return
        try:
            snapshots.save(self._snapshot, self._folder / _FILE)
        except OSError as error:
            rank_zero_warn(f"the snapshot is kept in RAM only, its file failed: {error}")

    def _tell(self, trainer: Trainer, fault: Mapping[str, Any], event: str) -> None:
        text = f"{event} {self.rollbacks}/{self.max_rollbacks}: {fault['reason']}"
        rank_zero_info(f"MetricRollback: {text}")
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.log_metrics({"rollback/count": float(self.rollbacks)}, step=trainer.global_step)
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("rollback/event", text, trainer.global_step)
        if _is_trial(trainer):
            return
        record = {
            "event": event,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "epoch": fault["epoch"],
            "global_step": trainer.global_step,
            "reason": fault["reason"],
            "monitor": self.monitor,
            "from": fault["score"],
            "to": self.best_score,
            "to_epoch": self.restored_epoch,
            "count": self.rollbacks,
            "lr": [float(g["lr"]) for o in trainer.optimizers for g in o.param_groups],
        }
        json_lines.append(self._folder / "rollbacks.jsonl", record)


def _is_trial(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))
