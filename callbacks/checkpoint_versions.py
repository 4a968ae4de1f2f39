"""Checkpoints with a history."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from callbacks.among_callbacks import among_callbacks
from callbacks.metric_rollback import MetricRollback
from callbacks.monitored_metric import monitored_metric
from callbacks.progressive_unfreezing import ProgressiveUnfreezing
from callbacks.require import require
from callbacks.version_files import (
    INDEX,
    Version,
    is_whole,
    link_or_copy,
    read_versions,
    write_versions,
)


class CheckpointVersions(Checkpoint):
    """Saves a checkpoint each epoch, keeps what is worth it, and writes down what each one is.

    The files are ``v0001.ckpt`` and so on, and ``best.ckpt`` and ``last.ckpt``, which are whole at
    any moment: a file is written under another name, read again, and only then takes its place.
    ``versions.json`` has an entry for each kept one: version, parent (the version that training
    went on from, also over a resume or a rollback), file, epoch, step, phase of a
    ``ProgressiveUnfreezing``, metric, digests of configuration and data, git commit, time, and why
    it is kept. A folder that has versions is continued, and its best one counts; a run that goes on
    in another folder takes the versions so far along.

    It takes the place of ``ModelCheckpoint``; ``ckpt_path="best"`` works. For why a file is read
    again see Lightning issue 21431.

    A version has a metric if it was measured on its weights: an epoch that does not end with a
    validation (``check_val_every_n_epoch``, ``val_check_interval``, ``max_steps``) leaves one
    without. Where none has one, and none is to be expected, a warning says so.

    Args:
        monitor: Metric that makes the best version; without it the best is the last.
        mode: Whether a small or a large value is good.
        keep_best: Number of best versions to keep.
        keep_last: Number of latest versions to keep.
        keep_phases: Whether the last version of each phase is kept.
        dirpath: Folder of the files; ``checkpoints`` in the trainer's log folder if None.
        data_digest: What tells the data apart; the DataModule's ``data_digest`` if None.

    Raises:
        MisconfigurationException: If an argument makes no sense, the metric is not there, or
            ``versions.json`` cannot be read.

    Example:
        >>> versions = CheckpointVersions("val_loss", keep_best=2)  # doctest: +SKIP
        >>> trainer = Trainer(callbacks=[versions])  # doctest: +SKIP
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        keep_best: int = 1,
        keep_last: int = 1,
        keep_phases: bool = True,
        dirpath: str | Path | None = None,
        data_digest: str | None = None,
    ) -> None:
        super().__init__()
        require(mode in ("min", "max"), f"mode is 'min' or 'max', not {mode!r}")
        require(keep_best > 0, f"keep_best is 1 or more, not {keep_best}")
        require(keep_last > 0, f"keep_last is 1 or more, not {keep_last}")
        self.monitor = monitor
        self.mode = mode
        self.keep_best = keep_best
        self.keep_last = keep_last
        self.keep_phases = keep_phases
        self.dirpath = dirpath
        self.data_digest = data_digest
        self.entries: list[Version] = []
        self._version: int | None = None
        self._resumed = False
        self._rollbacks: int | None = None
        self._validated = False
        self._before: Tensor | None = None
        self._scored_step: int | None = None
        self._warned = False
        self._folder = Path()

    @property
    def best_model_path(self) -> str:
        """File of the best version, as Lightning asks for it."""
        return str(self._folder / "best.ckpt") if self.entries else ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins without a parent unless a checkpoint follows."""
        if stage != "fit":
            return
        self._resumed = False
        # a path under a logger is broadcast, so every rank asks for it
        logs = Path(trainer.log_dir or trainer.default_root_dir)
        self._folder = Path(self.dirpath) if self.dirpath else logs / "checkpoints"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads what the folder has."""
        if not self._resumed and trainer.current_epoch == 0:
            self._version = None
        now = _rollbacks(trainer)
        # a run may be continued without the callback that counted them
        if self._rollbacks is None or not self._resumed or now < self._rollbacks:
            self._rollbacks = now
        self._validated = False
        self._scored_step = None
        self._warned = False
        self.entries = read_versions(self._folder) or self._carried(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the metric that is there already: of training, or of a validation before."""
        self._before = trainer.callback_metrics.get(self.monitor or "")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes which weights the metric is of, if this validation gave it."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._validated = True
        if trainer.callback_metrics.get(self.monitor or "") is not self._before:
            self._scored_step = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves a version, then lets go of what is not worth keeping."""
        if getattr(trainer, "fast_dev_run", False):
            return
        self._note_promoted()
        parent = self._parent(trainer)
        before = self._version
        self._version = 1 + max([before or 0, *(e["version"] for e in self.entries)])
        entry = self._entry(trainer, pl_module, parent)
        temporary = self._folder / f"{entry['file']}.tmp"
        trainer.save_checkpoint(temporary)
        whole = not trainer.is_global_zero or is_whole(temporary)
        if not trainer.strategy.reduce_boolean_decision(whole):
            self._version = before
            temporary.unlink(missing_ok=True)
            rank_zero_warn(
                f"the checkpoint of epoch {trainer.current_epoch} was damaged on the way to the "
                f"disk: '{self._folder}' keeps the one before, see if the disk is full or failing"
            )
            return
        if trainer.is_global_zero:
            temporary.replace(self._folder / entry["file"])
        everything = [*self.entries, entry]
        why = self._why(everything)
        self.entries = [{**e, "why": why[e["version"]]} for e in everything if e["version"] in why]
        if trainer.is_global_zero:
            self._write(gone=[e for e in everything if e["version"] not in why])
        trainer.strategy.barrier()
        self._warn_of_unscored(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The version that this checkpoint is, and the rollbacks that its parent knows of."""
        return {"version": self._version, "rollbacks": self._rollbacks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from that version."""
        self._resumed = True
        self._version = state_dict["version"]
        self._rollbacks = state_dict.get("rollbacks")

    def _entry(self, trainer: Trainer, module: LightningModule, parent: int | None) -> Version:
        data = getattr(trainer, "datamodule", None)
        config = {"module": dict(module.hparams), "data": dict(getattr(data, "hparams", {}))}
        text = json.dumps(config, sort_keys=True, default=repr)
        return {
            "version": self._version,
            "parent": parent,
            "file": f"v{self._version:04d}.ckpt",
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "phase": next((c.phase for c in among_callbacks(trainer, ProgressiveUnfreezing)), None),
            "monitor": self.monitor,
            "metric": self._metric(trainer),
            "config_digest": hashlib.sha256(text.encode()).hexdigest(),
            "data_digest": self.data_digest or getattr(data, "data_digest", None),
            "git_commit": _git_commit(),
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }

    def _carried(self, trainer: Trainer) -> list[Version]:
        """The history of the run that is continued, with its files under a second name here."""
        source = Path(trainer.ckpt_path).parent if self._resumed and trainer.ckpt_path else None
        if source is None or not (source / INDEX).is_file():
            return []
        entries = [e for e in read_versions(source) if e["version"] <= (self._version or 0)]
        if trainer.is_global_zero:
            self._folder.mkdir(parents=True, exist_ok=True)
            for entry in entries:
                link_or_copy(self._folder / entry["file"], source / entry["file"])
        trainer.strategy.barrier()
        return entries

    def _note_promoted(self) -> None:
        """Another process may have promoted a version meanwhile."""
        promoted = {e["version"] for e in read_versions(self._folder) if e.get("promoted")}
        if promoted:
            self.entries = [{**e, "promoted": e["version"] in promoted} for e in self.entries]

    def _metric(self, trainer: Trainer) -> float | None:
        if self.monitor is None:
            return None
        if self._scored_step not in (None, trainer.global_step):
            return None
        # what training logs is there at the end of an epoch, validation or not
        if not self._validated and self.monitor not in trainer.callback_metrics:
            return None
        value = monitored_metric(trainer, self, self.monitor)
        # JSON has no word for NaN
        return float(value) if math.isfinite(value) else None

    def _warn_of_unscored(self, trainer: Trainer) -> None:
        """Says once that no version has a score, where it is none of a late start."""
        if self.monitor is None or self._warned:
            return
        between = self._scored_step not in (None, trainer.global_step)
        if not between and (trainer.enable_validation or self.monitor in trainer.callback_metrics):
            return
        if any(entry["metric"] is not None for entry in self.entries):
            return
        self._warned = True
        reason = (
            "no epoch ended with a validation (see check_val_every_n_epoch, val_check_interval)"
            if between
            else "there is no validation, and training has not logged it"
        )
        rank_zero_warn(
            f"no version has a {self.monitor!r} yet, since {reason}: until one has, best.ckpt is "
            "the last version"
        )

    def _parent(self, trainer: Trainer) -> int | None:
        """The version before, or the one whose state a rollback brought back."""
        rollbacks = _rollbacks(trainer)
        if rollbacks == self._rollbacks:
            return self._version
        self._rollbacks = rollbacks
        epochs = [c.restored_epoch for c in among_callbacks(trainer, MetricRollback)]
        back = [e["version"] for e in self.entries if e["epoch"] in epochs]
        return back[-1] if back else None

    def _why(self, entries: list[Version]) -> dict[int, list[str]]:
        """Reasons to keep a version; one without a reason goes."""
        ends = {e["phase"]: e for e in entries if e["phase"] is not None}
        reasons: list[tuple[str, Iterable[Version]]] = [
            ("best", self._ranked(entries)[: self.keep_best]),
            ("last", entries[-self.keep_last :]),
            ("phase", ends.values() if self.keep_phases else ()),
            ("promoted", [e for e in entries if e.get("promoted")]),
        ]
        why: dict[int, list[str]] = {}
        for reason, kept in reasons:
            for entry in kept:
                why.setdefault(entry["version"], []).append(reason)
        return why

    def _ranked(self, entries: list[Version]) -> list[Version]:
        """The best first; the latest alone where none has a score."""
        sign = 1 if self.mode == "min" else -1
        scored = [e for e in entries if e["metric"] is not None]
        return sorted(scored, key=lambda e: (sign * e["metric"], e["version"])) or entries[-1:]

    def _write(self, gone: list[Version]) -> None:
        """Names first, then the index, and files go last: at no moment is a named one missing."""
        promoted = (e for e in self.entries if e.get("promoted"))
        first = next(promoted, self._ranked(self.entries)[0])
        link_or_copy(self._folder / "best.ckpt", self._folder / first["file"])
        link_or_copy(self._folder / "last.ckpt", self._folder / self.entries[-1]["file"])
        write_versions(self._folder, self.entries)
        for entry in gone:
            (self._folder / entry["file"]).unlink(missing_ok=True)


def _rollbacks(trainer: Trainer) -> int:
    return sum(callback.rollbacks for callback in among_callbacks(trainer, MetricRollback))


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
