"""The content of a checkpoint, checked before anything is done with it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from callbacks.version_files import is_whole
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.classification_task import CHECKPOINT_FORMAT

_ARGUMENTS = {"head", "head_options", "class_names", "feature_shapes", "encoder"}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of a :class:`ClassificationTask`.

    Only tensors and plain values are read (``weights_only=True``): a stranger's file runs nothing.

    Raises:
        LazarusError: If the file does not exist, is damaged or is not ours.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise LazarusError(f"the checkpoint '{path}' {what}: check its path")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    # a broken or foreign file can make the reader raise anything
    except Exception as error:
        raise LazarusError(
            f"the checkpoint '{path}' cannot be read ({type(error).__name__}): it is damaged, or "
            "was not written by lazarus"
        ) from error
    # torch compares no checksums
    if zipfile.is_zipfile(path) and not is_whole(path):
        raise LazarusError(
            f"the checkpoint '{path}' cannot be read (a checksum is wrong): it is damaged, give "
            "another one or train it again"
        )
    ours = content.get("lazarus") if isinstance(content, dict) else None
    if not isinstance(ours, dict) or not isinstance(content.get("state_dict"), dict):
        raise LazarusError(
            f"'{path}' is not a checkpoint of lazarus: give one that lazarus fit or lazarus grid "
            "wrote"
        )
    if ours.get("format") != CHECKPOINT_FORMAT:
        raise LazarusError(
            f"the checkpoint '{path}' has format {ours.get('format')}, this version reads "
            f"{CHECKPOINT_FORMAT}: train it again"
        )
    if not isinstance(ours.get("arguments"), dict) or not ours["arguments"].keys() >= _ARGUMENTS:
        raise LazarusError(
            f"the checkpoint '{path}' does not say what its head is made of: it is damaged, give "
            "another one or train it again"
        )
    return content
