"""The best checkpoint of the run that is continued."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor


class CarryBest(Callback):
    """Copies the best checkpoint along when a fit is continued in another folder.

    ``ModelCheckpoint`` forgets its best score when its folder changes, and with a new version of
    the logger it always does: the best checkpoint of the new folder could be worse than that of
    the old one. With this callback the old one lies in the new folder, with its score, until a
    better one takes its place.

    Example:
        >>> trainer = Trainer(callbacks=[ModelCheckpoint(monitor="score"), CarryBest()])
        >>> trainer.fit(module, ckpt_path="version_0/last.ckpt")  # doctest: +SKIP
    """

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, Any] = {}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Takes down what the checkpoint's own callbacks knew."""
        self._states = dict(checkpoint.get("callbacks", {}))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copies what is worth keeping, before anything is trained."""
        for callback in trainer.checkpoint_callbacks:
            state = self._states.get(callback.state_key)
            if not isinstance(callback, ModelCheckpoint) or not state or not _forgot(callback):
                continue
            # it may have seen no validation yet
            if best := state["best_model_path"]:
                self._carry(trainer, callback, Path(best))

    def _carry(self, trainer: Trainer, callback: ModelCheckpoint, named: Path) -> None:
        # a whole run may have been moved: its best file then lies beside the one that is continued
        beside = Path(trainer.ckpt_path or "").parent / named.name
        for old in (named, beside):
            if (score := _score(old, callback)) is None:
                continue
            assert callback.dirpath is not None
            new = Path(callback.dirpath) / old.name
            if trainer.is_global_zero:
                _copy(old, new)
            trainer.strategy.barrier()
            _remember(callback, str(new), score)
            return
        rank_zero_warn(
            f"the best checkpoint so far, '{named}', is not there any more: the best one of this "
            "run may be worse than it was"
        )


def _forgot(callback: ModelCheckpoint) -> bool:
    return callback.monitor is not None and callback.save_top_k != 0 and not callback.best_k_models


def _score(path: Path, callback: ModelCheckpoint) -> Tensor | None:
    """What a file was saved for; it may have been overwritten since the checkpoint named it."""
    if not path.is_file():
        return None
    content = torch.load(path, map_location="cpu", weights_only=True)
    score = content.get("callbacks", {}).get(callback.state_key, {}).get("current_score")
    return score if isinstance(score, Tensor) else None


def _copy(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    temporary = new.with_name(f"{new.name}.tmp")
    shutil.copyfile(old, temporary)
    temporary.replace(new)


def _remember(callback: ModelCheckpoint, path: str, score: Tensor) -> None:
    callback.best_k_models = {path: score}
    callback.best_model_path = callback.kth_best_model_path = path
    callback.best_model_score = callback.kth_value = score
