"""One checkpoint that classifies photos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from lazarus_pl.data.decode import open_photo, stretch
from lazarus_pl.doubt.doubt import Doubt
from lazarus_pl.doubt.readings import Readings
from lazarus_pl.encoder.encode_photos import encode_photos
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import START
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.finetune_task import FinetuneTask
from lazarus_pl.tasks.load_task import load_task
from lazarus_pl.views.view_policy import ViewPolicy
from lazarus_pl.views.views_spec import ViewsSpec

if TYPE_CHECKING:
    from lazarus_pl.doubt.verdict import Verdict
    from lazarus_pl.views.view_maker import ViewMaker

_AHEAD = 64
_OPTIONS = EngineOptions()


class Classifier:
    """The encoder and the head that a checkpoint was trained with.

    Args:
        checkpoint: A checkpoint of ``lazarus fit`` or ``lazarus grid``.
        weights: File of the encoder's weights, where it was given as a file in the extraction.
        options: How the encoder is run.
        views: Views that are looked at beside each photo.
        windows: How many windows along the short side large photos are read in; by default as those
            that the checkpoint was trained on.
        photos: How many will be classified, if that is known: for a few, the engine that starts
            at once is the faster one.

    Raises:
        LazarusError: If the checkpoint cannot be used, the encoder's weights are not those that it
            was trained with, or the views cannot be made.

    Attributes:
        task: The trained task, in evaluation mode.
        doubt: What lazarus calibrate taught the checkpoint, or None.
        class_names: Names of the classes in the order of the probabilities.
        windows: How large photos are read.
    """

    def __init__(
        self,
        checkpoint: Path,
        weights: str | None = None,
        options: EngineOptions = _OPTIONS,
        views: ViewsSpec | None = None,
        windows: int | None = None,
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
        trained_on = WindowsSpec.of(self.task.encoder)
        self.windows = trained_on if windows is None else replace(trained_on, count=windows)
        self._views = views or ViewsSpec()
        if self._views.count and self.windows.count > 1:
            raise LazarusError(
                f"'{checkpoint}' reads features {self.windows}, views show photos as a whole: "
                "leave out --tta"
            )
        times = (1 + self._views.count) * self.windows.count**2
        looks = None if photos is None else max(1, photos * times)
        # one photo is not filled up to a batch
        if looks is not None:
            options = replace(options, batch_size=min(options.batch_size, looks))
        self._batch_size = options.batch_size
        # what is said of a photo does not depend on how many others come with it
        self._engine = make_engine(self._spec, options, photos=looks, may_round=False)
        trained, here = self.task.encoder["digest"], self._engine.identity["digest"]
        if trained != here:
            raise LazarusError(
                f"'{checkpoint}' was trained on features of encoder digest {trained[:12]}, the "
                f"weights here give {here[:12]}: give the weights of the extraction with --weights"
            )
        self.class_names = self.task.class_names
        self._maker = self._view_maker() if self._views.count else None

    def read(self, photo: bytes) -> npt.NDArray[np.uint8]:
        """Decodes a photo to what :meth:`features` takes.

        Args:
            photo: The file's content.

        Returns:
            ``(S, S, 3)``, the whole photo; ``(H, W, 3)`` if it has the pixels for several windows.

        Raises:
            PhotoError: If it cannot be decoded.
        """
        size, kind = (self._engine.identity[key] for key in ("image_size", "interpolation"))
        return self.windows.read(photo, size, kind)

    def read_and_open(
        self, photo: bytes, at_least: int
    ) -> tuple[npt.NDArray[np.uint8], Image.Image]:
        """What :meth:`read` gives, and the photo to look at; decoded once where that will do.

        Args:
            photo: The file's content.
            at_least: As of :func:`~lazarus_pl.data.decode.open_photo`.

        Raises:
            PhotoError: If it cannot be decoded.
        """
        size, kind = (self._engine.identity[key] for key in ("image_size", "interpolation"))
        if self.windows.count > 1 or 2 * size < at_least:
            return self.read(photo), open_photo(photo, at_least)
        image = open_photo(photo, 2 * size)
        return stretch(image, size, kind), image

    @property
    def batch_size(self) -> int:
        """Photos that are best given at once: what fills the engine, and memory does not mind."""
        return min(self._engine.batch_size, max(self._batch_size, self.ahead))

    @property
    def ahead(self) -> int:
        """How many photos may wait decoded: as many as leave memory what it is."""
        return max(1, _AHEAD // self.windows.count**2)

    def look(self, photo: bytes) -> npt.NDArray[np.uint8]:
        """The photo and behind it its views, ``(1 + views, H, W, 3)``.

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
        self, looks: Sequence[npt.NDArray[np.uint8]]
    ) -> list[tuple[npt.NDArray[np.float32], Verdict | None]]:
        """Class probabilities ``(classes,)`` of photos and, if there is doubt, a verdict on each.

        Probabilities are the mean over the looks; the distance is that of the photo itself.

        Args:
            looks: What :meth:`look` gives of each photo, ``(1 + views, H, W, 3)``.
        """
        parts = [self._read(batch) for batch in self.batches(chain.from_iterable(looks))]
        probabilities, distances = (
            torch.cat(part).reshape(len(looks), len(looks[0]), -1)
            for part in zip(*parts, strict=True)
        )
        mean = probabilities.mean(dim=1)
        verdicts: list[Verdict | None] = [None] * len(looks)
        if self.doubt is not None:
            verdicts = [*self.doubt.verdicts(mean, distances[:, 0, 0])]
        return list(zip(mean.numpy(), verdicts, strict=True))

    def features(self, pixels: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
        """What the head reads of photos ``(B, H, W, 3)`` of :meth:`read`: float16 by layer."""
        encoded = list(encode_photos(self._engine, pixels, self.windows.overlap))
        return {
            name: torch.from_numpy(np.stack([features[name] for features in encoded]))
            for name in encoded[0]
        }

    def batches(self, photos: Iterable[npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
        """Photos ``(H, W, 3)``, in order, as ``(B, H, W, 3)``: those alike that follow each other.

        At most :attr:`batch_size` at once.
        """
        for _, alike in groupby(photos, key=lambda pixels: pixels.shape):
            same = iter(alike)
            # the first photos choose the engine, and with it how many it takes
            while batch := list(islice(same, self.batch_size)):
                yield np.stack(batch)

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
