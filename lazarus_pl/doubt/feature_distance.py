"""How unlike the training photos a photo is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lazarus_pl.doubt.leaf_quantile import leaf_quantile

# of float32, in sums over the features
_ROUNDING = 1e-5


class FeatureDistance(nn.Module):
    """Mahalanobis distance from the training photos, as a share of the farthest that is usual.

    One Gaussian of all classes' features, with a covariance that is shrunk as far as the number of
    photos demands (Ledoit and Wolf 2004, by scikit-learn). Lee et al. 2018 (arXiv:1807.03888) take
    a Gaussian a class; ``benchmarks/doubt.py`` compares.

    Args:
        dimensions: Size of a feature vector.

    Attributes:
        center: Mean of the training photos, ``(D,)``.
        whitening: What makes them uncorrelated and of distance 1 at the limit, ``(D, D)``.
    """

    center: Tensor
    whitening: Tensor

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(dimensions))
        self.register_buffer("whitening", torch.eye(dimensions))

    @classmethod
    def fit(
        cls,
        train: Tensor,
        val: Tensor,
        false_alarm: float,
        groups: Sequence[str] | None = None,
    ) -> FeatureDistance:
        """Learns what is usual.

        Args:
            train: Features of training photos, ``(N, D)``.
            val: Of photos that are known but not trained on, ``(M, D)``: they set the limit.
            false_alarm: Share of their leaves that is farther than the limit. Where these are too
                few for that share, the limit is the farthest photo.
            groups: Leaf of each photo of val; each is one of its own without them.
        """
        import numpy as np
        from sklearn.covariance import ledoit_wolf

        distance = cls(train.shape[1])
        distance.center.copy_(train.mean(dim=0))
        unit = torch.eye(train.shape[1], dtype=torch.float64)
        centered = (train - distance.center).double().numpy()
        covariance, _ = ledoit_wolf(centered, assume_centered=True)
        # a channel that never changes has no variance to divide by
        floor = 1e-6 * max(float(np.trace(covariance)) / len(covariance), 1e-12)
        root = torch.linalg.cholesky(torch.from_numpy(covariance) + floor * unit)
        distance.whitening.copy_(torch.linalg.solve_triangular(root, unit, upper=False).T)
        distances = distance(val)
        limit = leaf_quantile(distances, 1 - false_alarm, groups)
        farthest = float(distances.max()) if limit is None else limit
        # rounding puts no photo beyond the limit that it sets
        distance.whitening.div_(max(farthest * (1 + _ROUNDING), 1e-12))
        return distance

    def forward(self, features: Tensor) -> Tensor:
        """Distances ``(B,)`` of features ``(B, D)``; above 1 is farther than usual."""
        distances: Tensor = torch.linalg.vector_norm(
            (features - self.center) @ self.whitening, dim=-1
        )
        return distances
