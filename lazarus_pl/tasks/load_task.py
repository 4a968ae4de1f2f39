"""A trained task from its checkpoint, without its data."""

from __future__ import annotations

from pathlib import Path

from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.finetune_task import FinetuneTask
from lazarus_pl.tasks.read_checkpoint import read_checkpoint


def load_task(path: Path) -> ClassificationTask:
    """Rebuilds a task with its weights and statistics, in evaluation mode on the CPU.

    Raises:
        LazarusError: If the file does not exist, is damaged or is not ours.
    """
    content = read_checkpoint(path)
    try:
        finetuned = content["lazarus"].get("task") == FinetuneTask.__name__
        task = (FinetuneTask if finetuned else ClassificationTask)(
            **content["lazarus"]["arguments"]
        )
        task.load_state_dict(content["state_dict"])
    # arguments that do not go together, or tensors that are not theirs
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise LazarusError(
            f"the checkpoint '{path}' does not fit together ({type(error).__name__}): it is "
            "damaged, or of another version; give another one or train it again"
        ) from error
    return task.eval()
