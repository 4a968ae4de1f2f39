"""A trained task from its checkpoint, without its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.classification_task import CHECKPOINT_FORMAT, ClassificationTask


def load_task(path: Path) -> ClassificationTask:
    """Rebuilds a task with its weights and statistics, in evaluation mode on the CPU.

    Only tensors and plain values are read (``weights_only=True``): a stranger's file runs nothing.

    Raises:
        LazarusError: If the file does not exist, is damaged or is not ours.
    """
    if not path.is_file():
        raise LazarusError(f"the checkpoint '{path}' does not exist: check its path")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    # a broken or foreign file can make the reader raise anything
    except Exception as error:
        raise LazarusError(
            f"the checkpoint '{path}' cannot be read ({type(error).__name__}): it is damaged, or "
            "was not written by lazarus"
        ) from error
    ours = content.get("lazarus") if isinstance(content, dict) else None
    if not isinstance(ours, dict) or "state_dict" not in content:
        raise LazarusError(
            f"'{path}' is not a checkpoint of lazarus: give one that lazarus fit or lazarus grid "
            "wrote"
        )
    if ours.get("format") != CHECKPOINT_FORMAT:
        raise LazarusError(
            f"the checkpoint '{path}' has format {ours.get('format')}, this version reads "
            f"{CHECKPOINT_FORMAT}: train it again"
        )
    task = ClassificationTask(**ours["arguments"])
    task.load_state_dict(content["state_dict"])
    return task.eval()
