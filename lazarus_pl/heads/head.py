"""What all heads have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
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
    def forward(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> Tensor:
        """Logits ``(B, num_classes)``.

        Args:
            features: ``(B, C)`` or ``(B, H, W, C)`` by layer.
            mask: bool ``(B, H, W)`` of the finest grid, True where there is a patch.
        """

    def fade(self, features: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """What the head says as patches are taken away, each of which becomes the mean patch.

        Args:
            features: Standardised grids ``(B, H, W, C)`` by layer, so that the mean patch is 0.

        Returns:
            Gives logits ``(B, num_classes)`` for the patches that stay, ``(B, H, W)`` of 0 and 1; a
            coarse cell fades by the share of its patches that are gone.
        """

        def logits(kept: Tensor) -> Tensor:
            seen = {name: faded(values, kept) for name, values in features.items()}
            given: Tensor = self(seen)
            return given

        return logits

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

    def grid_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes ``(H, W, C)`` of the grids by layer, the finest first.

        Raises:
            LazarusError: If there is none.
        """
        grids = {name: shape for name, shape in self.feature_shapes.items() if len(shape) == 3}
        if not grids:
            raise LazarusError(
                f"{type(self).__name__} reads grids, the data gives only "
                f"{', '.join(self.feature_shapes)}: set data.init_args.layers to [grid16, grid32]"
            )
        return dict(sorted(grids.items(), key=lambda item: -item[1][0]))


def faded(values: Tensor, kept: Tensor) -> Tensor:
    """Cells ``(B, h, w, C)``, times the share of the patches ``(B, H, W)`` over each that stay."""
    return values * F.adaptive_avg_pool2d(kept, (values.shape[1], values.shape[2]))[..., None]
