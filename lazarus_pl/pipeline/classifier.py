"""One checkpoint that classifies photos."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lazarus_pl.data.decode import read_large, read_pixels
from lazarus_pl.doubt.doubt import Doubt
from lazarus_pl.doubt.readings import Readings
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import START
from lazarus_pl.encoder.make_engine import EngineName, make_engine
from lazarus_pl.encoder.precision import Precision
from lazarus_pl.encoder.sliding_windows import STRIDE, SlidingWindows
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.finetune_task import FinetuneTask
from lazarus_pl.tasks.load_task import load_task
from lazarus_pl.views.view_policy import ViewPolicy
from lazarus_pl.views.views_spec import ViewsSpec

if TYPE_CHECKING:
    from lazarus_pl.doubt.verdict import Verdict
    from lazarus_pl.views.view_maker import ViewMaker


class Classifier:
    """The encoder and the head that a checkpoint was trained with.

    Args:
        checkpoint: A checkpoint of ``lazarus fit`` or ``lazarus grid``.
        weights: File of the encoder's weights, where it was given as a file in the extraction.
        device: As torch names it, or ``auto``.
        precision: Of the encoder.
        batch_size: Photos that the encoder takes at once.
        views: Views that are looked at beside each photo.
        engine: What runs the encoder.
        photos: How many will be classified, if that is known: for a few, the engine that starts
            at once is the faster one.

    Raises:
        LazarusError: If the checkpoint cannot be used, the encoder's weights are not those that it
            was trained with, or the views cannot be made.

    Attributes:
        task: The trained task, in evaluation mode.
        doubt: What lazarus calibrate taught the checkpoint, or None.
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
        views: ViewsSpec | None = None,
        engine: EngineName = "auto",
        photos: int | None = None,
    ) -> None:
        self.task = load_task(checkpoint)
        self.doubt = Doubt.of_checkpoint(checkpoint)
        if not self.task.encoder.keys() >= {"name", "weights", "image_size", "digest"}:
            raise LazarusError(
                f"the checkpoint '{checkpoint}' does not say which encoder made its features: give "
                "one of lazarus fit or lazarus grid, or pass the DataModule's encoder to the task"
            )
        self._spec = _spec(self.task.encoder, tuple(self.task.feature_shapes), weights)
        self._views = views or ViewsSpec()
        looks = None if photos is None else max(1, photos * (1 + self._views.count))
        # one photo is not filled up to a batch
        self.batch_size = batch_size if looks is None else min(batch_size, looks)
        self._engine = make_engine(
            self._spec, device, precision, self.batch_size, engine, photos=looks
        )
        trained, here = self.task.encoder["digest"], self._engine.identity["digest"]
        if trained != here:
            raise LazarusError(
                f"'{checkpoint}' was trained on features of encoder digest {trained[:12]}, the "
                f"weights here give {here[:12]}: give the weights of the extraction with --weights"
            )
        self.class_names = self.task.class_names
        self._maker = self._view_maker() if self._views.count else None

    def read(self, photo: bytes, windows: int = 1) -> npt.NDArray[np.uint8]:
        """Decodes a photo to what :meth:`features` takes.

        Args:
            photo: The file's content.
            windows: 1 for ``(S, S, 3)``, the whole photo; more for ``(H, W, 3)`` of as many sliding
                windows along the short side, if it has the pixels.

        Raises:
            PhotoError: If it cannot be decoded.
        """
        size, kind = (self._engine.identity[key] for key in ("image_size", "interpolation"))
        if windows == 1:
            return read_pixels(photo, size, kind)
        return read_large(photo, size, windows, STRIDE, kind)

    def look(self, photo: bytes) -> npt.NDArray[np.uint8]:
        """The photo and behind it its views, ``(1 + views, S, S, 3)``.

        Raises:
            PhotoError: If it cannot be decoded.
        """
        plain = self.read(photo)
        if self._maker is None:
            return plain[None]
        numbers = range(1, self._views.count + 1)
        sha256 = hashlib.sha256(photo).hexdigest()
        return np.stack([plain, *self._maker.views(photo, sha256, numbers)])

    def judged(
        self, looks: npt.NDArray[np.uint8]
    ) -> list[tuple[npt.NDArray[np.float32], Verdict | None]]:
        """Class probabilities ``(classes,)`` of photos and, if there is doubt, a verdict on each.

        Probabilities are the mean over the looks; the distance is that of the photo itself.

        Args:
            looks: What :meth:`look` gives of each photo, ``(B, 1 + views, S, S, 3)``.
        """
        flat = looks.reshape(-1, *looks.shape[2:])
        batches = range(0, len(flat), self.batch_size)
        parts = [self._read(flat[i : i + self.batch_size]) for i in batches]
        probabilities, distances = (
            torch.cat(part).reshape(*looks.shape[:2], -1) for part in zip(*parts, strict=True)
        )
        mean = probabilities.mean(dim=1)
        verdicts: list[Verdict | None] = [None] * len(looks)
        if self.doubt is not None:
            verdicts = [*self.doubt.verdicts(mean, distances[:, 0, 0])]
        return list(zip(mean.numpy(), verdicts, strict=True))

    def features(self, pixels: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
        """What the head reads of photos ``(B, H, W, 3)``: float16 by layer.

        Photos of :meth:`read` are encoded as they are, larger ones in sliding windows, whose grids
        are put together: such photos have grids alone.
        """
        size = self._engine.identity["image_size"]
        if pixels.shape[1:3] == (size, size):
            encoded = self._engine.encode(pixels)
        else:
            parts = [self._stitched(photo, size) for photo in pixels]
            encoded = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        return {name: torch.from_numpy(array) for name, array in encoded.items()}

    def _stitched(
        self, photo: npt.NDArray[np.uint8], size: int
    ) -> dict[str, npt.NDArray[np.float16]]:
        windows = SlidingWindows((photo.shape[0], photo.shape[1]), size)
        cut = windows.cut(photo)
        batches = range(0, len(cut), self.batch_size)
        encoded = [self._engine.encode(cut[i : i + self.batch_size]) for i in batches]
        return {
            name: windows.stitch(np.concatenate([part[name] for part in encoded]))
            for name, values in encoded[0].items()
            if values.ndim == 4
        }

    def last_map(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        """The backbone's last map ``(B, C, h, w)`` of photos ``(B, S, S, 3)``."""
        if isinstance(self.task, FinetuneTask):
            with torch.no_grad():
                return self.task.tail.last_map(self.features(pixels)[START])
        with torch.no_grad():
            images = self.encoder.normalise(torch.from_numpy(pixels))
            last: Tensor = self.encoder.model.forward_features(images)
        return last

    def pool(self, last: Tensor) -> Tensor:
        """The layer ``pooled`` ``(B, C)`` of :meth:`last_map`."""
        if isinstance(self.task, FinetuneTask):
            features: Tensor = self.task.tail.pool(last)
            return features
        pooled: Tensor = self.encoder.model.forward_head(last, pre_logits=True)
        return pooled

    @cached_property
    def encoder(self) -> Encoder:
        """The frozen backbone, on the CPU."""
        return Encoder.from_spec(self._spec)

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Class probabilities ``(B, classes)`` of ``(B, S, S, 3)``; calibrated with doubt."""
        probabilities: npt.NDArray[np.float32] = self._read(pixels)[0].numpy()
        return probabilities

    @torch.inference_mode()
    def _read(self, pixels: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Probabilities ``(B, classes)`` and distances ``(B,)``, which are 0 without doubt."""
        readings = Readings.of(self.task, self.features(pixels))
        if self.doubt is None:
            return readings.logits.softmax(dim=-1), torch.zeros(len(pixels))
        return self.doubt.probabilities(readings.logits), self.doubt.distance(readings.features)

    def _view_maker(self) -> ViewMaker:
        from lazarus_pl.views.view_maker import ViewMaker

        identity = self._engine.identity
        return ViewMaker(
            ViewPolicy.find(self._views.policy),
            self._views.seed,
            identity["image_size"],
            identity["interpolation"],
        )


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
