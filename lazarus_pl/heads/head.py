"""What all heads have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from lazarus_pl.errors import LazarusError

FeatureShapes = Mapping[str, Sequence[int]]


class Head(nn.Module, ABC):
    """A classifier on cached features of one photo.

    Args:
        feature_shapes: Shape of one photo's features by layer: ``(C,)`` or ``(H, W, C)``.
        num_classes: Number of logits.
    """

    def __init__(self, feature_shapes: FeatureShapes, num_classes: int) -> None:
        super().__init__()
        self.feature_shapes = {name: tuple(shape) for name, shape in feature_shapes.items()}
        self.num_classes = num_classes

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Logits ``(B, num_classes)`` of features ``(B, C)`` or ``(B, H, W, C)`` by layer."""

    def pooled_channels(self) -> int:
        """Size of the ``pooled`` layer.

        Raises:
            LazarusError: If there is no such layer.
        """
        if "pooled" not in self.feature_shapes:
            raise LazarusError(
                f"{type(self).__name__} reads the layer 'pooled', the data gives only "
                f"{', '.join(self.feature_shapes)}: set data.init_args.layers to [pooled]"
            )
        return int(self.feature_shapes["pooled"][0])
