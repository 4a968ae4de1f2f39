"""One hidden layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lazarus_pl.heads.head import FeatureShapes, Head
from lazarus_pl.in_range import check_count, check_share


class MLPHead(Head):
    """A hidden layer with normalisation and dropout on the pooled features.

    Args:
        feature_shapes: Must hold ``pooled``, ``(C,)``.
        num_classes: Number of logits.
        hidden: Width of the hidden layer.
        dropout: Share of its units left out in training.

    Raises:
        LazarusError: If there is no layer ``pooled``, or an option cannot be.
    """

    def __init__(
        self,
        feature_shapes: FeatureShapes,
        num_classes: int,
        hidden: int = 512,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(feature_shapes, num_classes)
        check_count("hidden", hidden)
        check_share("dropout", dropout, whole=False)
        self.layers = nn.Sequential(
            nn.Linear(self.pooled_channels(), hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> Tensor:
        """Logits ``(B, num_classes)`` of ``pooled`` ``(B, C)``, which has no patches to mask."""
        logits: Tensor = self.layers(features["pooled"])
        return logits
