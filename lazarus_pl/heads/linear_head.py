"""Logistic regression."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lazarus_pl.heads.head import FeatureShapes, Head
from lazarus_pl.in_range import check_share


class LinearHead(Head):
    """One linear map of the pooled features.

    Args:
        feature_shapes: Must hold ``pooled``, ``(C,)``.
        num_classes: Number of logits.
        dropout: Share of features left out in training.

    Raises:
        LazarusError: If there is no layer ``pooled``, or an option cannot be.
    """

    def __init__(
        self, feature_shapes: FeatureShapes, num_classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__(feature_shapes, num_classes)
        check_share("dropout", dropout, whole=False)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.pooled_channels(), num_classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> Tensor:
        """Logits ``(B, num_classes)`` of ``pooled`` ``(B, C)``, which has no patches to mask."""
        logits: Tensor = self.classifier(self.dropout(features["pooled"]))
        return logits
