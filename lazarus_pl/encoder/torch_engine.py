"""The encoder on PyTorch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lazarus_pl.encoder.agreement import Agreement
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.engine_options import check_engine_options
from lazarus_pl.encoder.find_device import find_device
from lazarus_pl.encoder.folded_encoder import features_of_noise, folded_encoder
from lazarus_pl.encoder.leaf_images import leaf_images
from lazarus_pl.encoder.precision import MIN_COSINE, Precision, best_precision
from lazarus_pl.encoder.round_to_bfloat16 import round_to_bfloat16
from lazarus_pl.encoder.without_tf32 import without_tf32
from lazarus_pl.errors import LazarusError

_LOG = logging.getLogger(__name__)
_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class TorchEngine:
    """Runs an encoder in inference mode, ``channels_last``, with batch normalisation folded.

    ``auto`` takes float32 on a CPU, and on a GPU
    :func:`~lazarus_pl.encoder.precision.best_precision`. For reduced precision the weights are cast
    once, where autocast would cast them for every batch; what that gives is compared with float32
    on a first batch, since some GPUs (GTX 16xx) give NaN in fp16.

    Args:
        encoder: The frozen backbone; a copy of it is used.
        device: ``auto``, or a device as torch names it.
        precision: ``auto``, ``32``, ``bf16`` or ``16``.
        batch_size: Photos at once; 8 is faster than 64 on a CPU, where it fits the cache.

    Raises:
        LazarusError: If the device or the precision cannot be used, or memory does not suffice.

    Attributes:
        precision: The precision in use: ``32``, ``bf16`` or ``16``.
        device: The device in use.
    """

    name = "torch"

    def __init__(
        self,
        encoder: Encoder,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int = 8,
    ) -> None:
        check_engine_options(precision, batch_size)
        self.device: torch.device = find_device(device)
        self.batch_size = batch_size
        with self._enough_memory(f"the encoder '{encoder.spec.name}': use a smaller one"):
            self._encoder = _ready(encoder, self.device)
            self.precision = self._lowered(encoder, precision)

    @property
    def identity(self) -> dict[str, Any]:
        """The encoder's identity."""
        return self._encoder.identity

    @property
    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one photo's features by layer."""
        return self._encoder.layer_shapes

    def encode(self, photos: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float16]]:
        """Features of pixels.

        Args:
            photos: ``(B, S, S, 3)``; any B, run in batches of ``batch_size``.

        Returns:
            float16 by layer: ``(B, C)`` or ``(B, H, W, C)``.

        Raises:
            LazarusError: If memory does not suffice for a batch.
        """
        with self._enough_memory(f"{self.batch_size} photos at once: use a smaller --batch_size"):
            return self._encode(photos)

    @contextmanager
    def _enough_memory(self, what_for: str) -> Iterator[None]:
        """Says what memory does not suffice for, and what to do."""
        try:
            yield
        except RuntimeError as error:
            from callbacks.step_in_parts import is_out_of_memory

            if not is_out_of_memory(error):
                raise
            elsewhere = "" if self.device.type == "cpu" else ", or --device cpu"
            raise LazarusError(
                f"the memory of {self.device} does not suffice for {what_for}{elsewhere}"
            ) from error

    def _encode(self, photos: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float16]]:
        on_cuda = self.device.type == "cuda"
        kept = {layer: self._on_host(len(photos), layer) for layer in self.layer_shapes}
        for start in range(0, len(photos), self.batch_size):
            batch = slice(start, start + self.batch_size)
            for layer, values in _run(self._encoder, torch.from_numpy(photos[batch])).items():
                kept[layer][batch].copy_(values.half(), non_blocking=on_cuda)
        if on_cuda:
            # once, not after every batch: the GPU works on while the next one is on its way
            torch.cuda.synchronize(self.device)
        return {layer: values.numpy() for layer, values in kept.items()}

    def _on_host(self, count: int, layer: str) -> Tensor:
        """Where features of photos go; a GPU writes there by itself if pages stay in place."""
        shape = (count, *self.layer_shapes[layer])
        return torch.empty(shape, dtype=torch.float16, pin_memory=self.device.type == "cuda")

    def _lowered(self, encoder: Encoder, asked: str) -> str:
        """Lowers the precision as far as it is asked for and sound, and says to which one."""
        precision = _automatic(self.device) if asked == "auto" else asked
        if precision == "32":
            return precision
        worst = _lower(self._encoder, precision)
        if worst >= MIN_COSINE:
            return precision
        if asked != "auto":
            raise LazarusError(
                f"precision {precision} is unusable on {self.device} (cosine to float32 "
                f"{worst:.4f}): use --precision 32"
            )
        _LOG.warning(
            "precision %s disagrees with float32 on %s (cosine %.4f): using 32",
            precision,
            self.device,
            worst,
        )
        self._encoder = _ready(encoder, self.device)
        return "32"


def agreement(encoder: Encoder, device: torch.device, precision: str) -> float:
    """How close reduced precision comes to float32 on a batch of eight photos of noise.

    Args:
        encoder: Is copied.
        device: Where to run it.
        precision: ``bf16`` or ``16``.

    Returns:
        Lowest cosine over layers and photos; ``NOT_FINITE`` if a value is not finite.
    """
    return _lower(_ready(encoder, device), precision)


def _lower(encoder: Encoder, precision: str) -> float:
    """Casts an encoder's weights, and compares what it gives then with what it gave before."""
    before = features_of_noise(encoder)
    if precision == "bf16":
        with without_tf32():
            round_to_bfloat16(encoder, leaf_images(encoder))
    encoder.model.to(_DTYPES[precision])
    return Agreement.of(before, features_of_noise(encoder)).worst


@torch.inference_mode()
def _run(encoder: Encoder, photos: Tensor) -> dict[str, Tensor]:
    device = encoder.mean.device
    if device.type == "cuda":
        photos = photos.pin_memory()
    photos = photos.to(device, non_blocking=device.type == "cuda")
    with without_tf32():
        features: dict[str, Tensor] = encoder(encoder.normalise(photos))
    return features


def _ready(encoder: Encoder, device: torch.device) -> Encoder:
    """A folded copy on a device."""
    return folded_encoder(encoder).to(device).to(memory_format=torch.channels_last)


def _automatic(device: torch.device) -> str:
    return "32" if device.type == "cpu" else best_precision(device)
