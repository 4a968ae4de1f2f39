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
    check_data(theirs["class_names"], theirs["encoder"] or {}, class_names, encoder)
    if head != (theirs["head"], theirs["head_options"] or {}):
        raise LazarusError(
            f"the checkpoint holds the head '{theirs['head']}' with options "
            f"{theirs['head_options'] or {}}, the config asks for '{head[0]}' with {head[1]}: "
            "use the config that it was trained with"
        )
    _check_tensors(checkpoint["state_dict"], tensors)


def check_data(
    learned: list[str],
    read: Mapping[str, Any],
    class_names: list[str],
    encoder: Mapping[str, Any],
    checkpoint: str = "the checkpoint",
    cache: str = "the cache",
) -> None:
    """Refuses data of other classes, of another encoder or of other windows.

    Args:
        learned: Classes that the checkpoint was trained on.
        read: Identity of the encoder that it was trained on.
        class_names: Of the data.
        encoder: Identity of the encoder that made the data.
        checkpoint: What a message calls the checkpoint.
        cache: What it calls the data.

    Raises:
        LazarusError: If they differ.
    """
    use = "use the cache that it was trained on"
    if learned != class_names:
        raise LazarusError(
            f"{checkpoint} knows the classes {', '.join(learned)}, {cache} has "
            f"{', '.join(class_names)}: {use}"
        )
    if read.get("digest") != encoder.get("digest"):
        raise LazarusError(
            f"{checkpoint} was trained on features of encoder digest {_short(read)}, {cache} "
            f"holds those of {_short(encoder)}: {use}"
        )
    windows, held = WindowsSpec.of(read), WindowsSpec.of(encoder)
    if windows != held:
        raise LazarusError(
            f"{checkpoint} was trained on features {windows}, {cache} holds those {held}: {use}"
        )


def _short(encoder: Mapping[str, Any]) -> str:
    return f"{str(encoder.get('digest'))[:12]} ('{encoder.get('name')}')"


def _check_tensors(theirs: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> None:
    for name in sorted(mine.keys() | theirs.keys()):
        if name in mine and name in theirs and mine[name].shape == theirs[name].shape:
            continue
        raise LazarusError(
            f"the tensor '{name}' of the checkpoint is not that of the model: use the config "
            "and the layers that it was trained with"
        )
