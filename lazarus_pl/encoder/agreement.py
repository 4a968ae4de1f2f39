"""How close the features of two engines are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lazarus_pl.encoder.precision import MIN_COSINE, MIN_MEAN, MIN_SAME, NOT_FINITE


@dataclass(frozen=True)
class Agreement:
    """Cosines between the features that two engines give of the same photos.

    Attributes:
        photos: How many were compared.
        mean: Mean over the photos, of the layer where it is lowest.
        worst: Lowest over layers and photos; ``NOT_FINITE`` if a value is not finite.
    """

    photos: int
    mean: float
    worst: float

    @classmethod
    def of(
        cls,
        exact: Mapping[str, npt.NDArray[np.floating]],
        other: Mapping[str, npt.NDArray[np.floating]],
    ) -> Agreement:
        """Compares features by layer, one row a photo."""
        cosines = [_cosines(values, other[layer]) for layer, values in exact.items()]
        photos = len(cosines[0])
        if not np.isfinite(cosines).all():
            return cls(photos, NOT_FINITE, NOT_FINITE)
        return cls(photos, float(np.mean(cosines, axis=1).min()), float(np.min(cosines)))

    def suffices(self, precision: str) -> bool:
        """Whether features are as good as those of float32 on torch.

        Args:
            precision: In which they were computed; float32 has to be the same but for rounding.
        """
        if precision == "32":
            return self.worst >= MIN_SAME
        return self.worst >= MIN_COSINE and self.mean >= MIN_MEAN


def _cosines(
    exact: npt.NDArray[np.floating], other: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    left, right = (values.reshape(len(values), -1).astype(np.float64) for values in (exact, other))
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    with np.errstate(invalid="ignore"):
        cosines: npt.NDArray[np.float64] = (left * right).sum(axis=1) / np.maximum(
            lengths, np.finfo(np.float64).tiny
        )
    return cosines
