"""Whether a checkpoint goes with a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.errors import LazarusError


def check_checkpoint(
    checkpoint: Mapping[str, Any],
    class_names: list[str],
    encoder: Mapping[str, Any],
    head: tuple[str, Mapping[str, Any]],
    tensors: Mapping[str, Tensor],
) -> None:
    """Refuses the weights of another encoder, of other classes or of another head.

    Args:
        checkpoint: As Lightning loads it.
        class_names: Of the task.
        encoder: Identity of the encoder that made the task's features.
        head: Name and options of the task's.
        tensors: The task's, by name.

    Raises:
        LazarusError: If the checkpoint does not fit.
    """
    theirs = checkpoint.get("lazarus", {}).get("arguments")
    if theirs is None:
        raise LazarusError(
            "the checkpoint was not written by lazarus: give one that lazarus fit or "
            "lazarus grid wrote"
        )
    if theirs["class_names"] != class_names:
        raise LazarusError(
            f"the checkpoint knows the classes {', '.join(theirs['class_names'])}, the cache "
            f"has {', '.join(class_names)}: use the cache that it was trained on"
        )
    _check_encoder(theirs["encoder"] or {}, encoder)
    if head != (theirs["head"], theirs["head_options"] or {}):
        raise LazarusError(
            f"the checkpoint holds the head '{theirs['head']}' with options "
            f"{theirs['head_options'] or {}}, the config asks for '{head[0]}' with {head[1]}: "
            "use the config that it was trained with"
        )
    _check_tensors(checkpoint["state_dict"], tensors)


def _check_encoder(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    if theirs.get("digest") != mine.get("digest"):
        raise LazarusError(
            f"the checkpoint was trained on features of encoder '{theirs.get('name')}' (digest "
            f"{str(theirs.get('digest'))[:12]}), the cache holds those of '{mine.get('name')}' "
            f"(digest {str(mine.get('digest'))[:12]}): use the cache that it was trained on"
        )
    read, reads = WindowsSpec.of(theirs), WindowsSpec.of(mine)
    if read != reads:
        raise LazarusError(
            f"the checkpoint was trained on features {read}, the cache holds those {reads}: "
            "use the cache that it was trained on"
        )


def _check_tensors(theirs: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> None:
    for name in sorted(mine.keys() | theirs.keys()):
        if name in mine and name in theirs and mine[name].shape == theirs[name].shape:
            continue
        raise LazarusError(
            f"the tensor '{name}' of the checkpoint is not that of the model: use the config "
            "and the layers that it was trained with"
        )
