"""Everything from a photo's pixels to its probabilities as one module."""

from __future__ import annotations

from torch import Tensor, nn

from lazarus_pl.doubt.doubt import Doubt
from lazarus_pl.doubt.readings import Readings
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.export.resample import Resample
from lazarus_pl.tasks.classification_task import ClassificationTask


class PhotoModel(nn.Module):
    """Resizing, encoder, head, temperature and distance.

    Args:
        encoder: That of the task's features.
        task: Trained.
        doubt: What the checkpoint knows of its limits, or None.

    Raises:
        LazarusError: If the encoder resizes in a way that a graph cannot.
    """

    def __init__(self, encoder: Encoder, task: ClassificationTask, doubt: Doubt | None) -> None:
        super().__init__()
        identity = encoder.identity
        self.resample = Resample(identity["image_size"], identity["interpolation"])
        self.encoder = encoder
        self.task = task
        self.temperature = 1.0 if doubt is None else doubt.temperature
        self.distance = None if doubt is None else doubt.distance
        self.eval()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` gives."""
        return ("probabilities",) if self.distance is None else ("probabilities", "distance")

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """Judges photos of one size.

        Args:
            photos: uint8 ``(B, H, W, 3)``, RGB, upright.

        Returns:
            Probabilities ``(B, classes)``, and distances ``(B,)`` if there is doubt.
        """
        pixels = self.resample(photos)
        features = self.encoder(self.encoder.normalise(pixels))
        readings = Readings.of(self.task, features)
        probabilities = (readings.logits / self.temperature).softmax(dim=-1)
        if self.distance is None:
            return (probabilities,)
        return probabilities, self.distance(readings.features)
