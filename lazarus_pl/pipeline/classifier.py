"""One checkpoint that classifies photos."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lazarus_pl.data.decode import read_pixels
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.encoder.precision import Precision
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.load_task import load_task


class Classifier:
    """The encoder and the head that a checkpoint was trained with.

    Args:
        checkpoint: A checkpoint of ``lazarus fit`` or ``lazarus grid``.
        weights: File of the encoder's weights, where it was given as a file in the extraction.
        device: As torch names it, or ``auto``.
        precision: Of the encoder.
        batch_size: Photos that the encoder takes at once.

    Raises:
        LazarusError: If the checkpoint cannot be used, or the encoder's weights are not those that
            it was trained with.

    Attributes:
        task: The trained task, in evaluation mode.
        class_names: Names of the classes in the order of the probabilities.
        batch_size: Photos that are best given at once.
    """

    def __init__(
        self,
        checkpoint: Path,
        weights: str | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int = 8,
    ) -> None:
        self.task = load_task(checkpoint)
        self._spec = _spec(self.task.encoder, tuple(self.task.feature_shapes), weights)
        self._engine = make_engine(
            self._spec,
            device,
            precision,
            batch_size,
        )
        trained, here = self.task.encoder["digest"], self._engine.identity["digest"]
        if trained != here:
            raise LazarusError(
                f"'{checkpoint}' was trained on features of encoder digest {trained[:12]}, the "
                f"weights here give {here[:12]}: give the weights of the extraction with --weights"
            )
        self.class_names = self.task.class_names
        self.batch_size = batch_size

    def read(self, photo: bytes) -> npt.NDArray[np.uint8]:
        """Decodes a photo to what :meth:`probabilities` takes, ``(S, S, 3)``.

        Raises:
            PhotoError: If it cannot be decoded.
        """
        identity = self._engine.identity
        return read_pixels(photo, identity["image_size"], identity["interpolation"])

    def features(self, pixels: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
        """What the head reads of photos ``(B, S, S, 3)``: float16 by layer."""
        encoded = self._engine.encode(pixels)
        return {name: torch.from_numpy(array) for name, array in encoded.items()}

    def last_map(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        """The backbone's last map ``(B, C, h, w)`` of photos ``(B, S, S, 3)``."""
        with torch.no_grad():
            images = self._encoder.normalise(torch.from_numpy(pixels))
            last: Tensor = self._encoder.model.forward_features(images)
        return last

    def pool(self, last: Tensor) -> Tensor:
        """The layer ``pooled`` ``(B, C)`` of :meth:`last_map`."""
        pooled: Tensor = self._encoder.model.forward_head(last, pre_logits=True)
        return pooled

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder.from_spec(self._spec)

    @torch.inference_mode()
    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Class probabilities ``(B, classes)`` of photos ``(B, S, S, 3)``."""
        logits = self.task(self.features(pixels))
        probabilities: npt.NDArray[np.float32] = logits.float().softmax(dim=-1).numpy()
        return probabilities


def _spec(identity: dict[str, object], layers: tuple[str, ...], weights: str | None) -> EncoderSpec:
    source = identity["weights"]
    assert isinstance(source, dict)
    if weights is None and source["source"] == "file":
        raise LazarusError(
            f"the encoder's weights came from the file '{source['file']}': give it with --weights"
        )
    return EncoderSpec(
        name=str(identity["name"]),
        weights=weights or str(source["source"]),
        image_size=int(str(identity["image_size"])),
        layers=layers,
    )
