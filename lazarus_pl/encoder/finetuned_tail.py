"""The encoder's blocks in a checkpoint of a fine-tuning."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lazarus_pl.errors import LazarusError

_LAST = ("conv_head", "bn2")


@dataclass(frozen=True)
class FinetunedTail:
    """Blocks that were trained on, and what they were trained on top of.

    Attributes:
        encoder: Identity of the encoder that made the cached features.
        state: The trained tensors by the names that the backbone gives them.
    """

    encoder: dict[str, Any]
    state: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> FinetunedTail:
        """Reads tensors and plain values only: a stranger's file runs nothing.

        Raises:
            LazarusError: If the file is damaged, or no checkpoint of a fine-tuning.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        # a broken or foreign file can make the reader raise anything
        except Exception as error:
            raise LazarusError(
                f"the weights '{path}' cannot be read ({type(error).__name__}): the file is damaged"
            ) from error
        ours = content.get("lazarus") if isinstance(content, dict) else None
        tensors = content.get("state_dict", {}) if isinstance(content, dict) else {}
        state = {
            backbone_name(name.removeprefix("tail.")): value
            for name, value in tensors.items()
            if name.startswith("tail.")
        }
        if not isinstance(ours, dict) or not state:
            raise LazarusError(
                f"'{path}' holds no encoder: give a checkpoint of a fine-tuning, or a file of "
                "weights in .safetensors or .pth"
            )
        if not all(isinstance(v, Tensor) and v.layout == torch.strided for v in state.values()):
            raise LazarusError(f"the blocks in '{path}' are no tensors: the file is damaged")
        arguments = ours.get("arguments")
        encoder = arguments.get("encoder") if isinstance(arguments, dict) else None
        if not (
            isinstance(encoder, dict) and "name" in encoder and _is_weights(encoder.get("weights"))
        ):
            raise LazarusError(f"'{path}' does not say which encoder it is of: it is damaged")
        return cls(encoder, state)

    @property
    def base(self) -> Mapping[str, Any]:
        """Identity of the weights before these blocks, which no fine-tuning has trained."""
        weights: Mapping[str, Any] = self.encoder["weights"]
        return weights.get("base") or weights

    @property
    def digest(self) -> str:
        """SHA-256 of all weights; what else is in the checkpoint may change."""
        digest = hashlib.sha256(str(self.base["sha256"]).encode())
        for name, tensor in sorted(self.state.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def source(self, path: Path, name: str) -> str:
        """Where the weights before these blocks come from.

        Args:
            path: The checkpoint.
            name: Of the encoder that is asked for.

        Raises:
            LazarusError: If it is another one, or its weights came from a file.
        """
        if self.encoder["name"] != name:
            raise LazarusError(
                f"'{path}' was fine-tuned from '{self.encoder['name']}', not from '{name}': give "
                f"--encoder.name {self.encoder['name']}"
            )
        source = str(self.base["source"])
        if source == "file":
            raise LazarusError(
                f"'{path}' was fine-tuned from the weights '{self.base['file']}', which it does "
                "not hold: fine-tune from packaged weights or those of the hub"
            )
        return source


def _is_weights(weights: object) -> bool:
    """Whether it is what :attr:`WeightsFile.identity` gives."""
    if not isinstance(weights, dict) or not weights.keys() >= {"source", "file", "sha256"}:
        return False
    return weights.get("base") is None or _is_weights(weights["base"])


def backbone_name(name: str) -> str:
    """What the backbone calls a tensor of :class:`EncoderTail`."""
    stage, _, rest = name.partition(".")
    if stage != "last":
        return f"blocks.{stage.removeprefix('block')}.{rest}"
    part, _, tensor = rest.partition(".")
    return f"{_LAST[int(part)]}.{tensor}"
