"""A map against a mask of lesions."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

_THRESHOLDS = 100


class LocalisationScore(NamedTuple):
    """How well a map finds lesions.

    Attributes:
        pointing: Whether the map's peak lies in a lesion (pointing game; Zhang et al. 2016,
            arXiv:1608.00507).
        auroc: Of pixels within the leaf.
        average_precision: Of pixels within the leaf.
        iou: At the best threshold.
    """

    pointing: float
    auroc: float
    average_precision: float
    iou: float


def localisation_score(
    values: npt.NDArray[np.float32], lesions: npt.NDArray[np.bool_], leaf: npt.NDArray[np.bool_]
) -> LocalisationScore:
    """Scores a map over a whole photo.

    Args:
        values: ``(h, w)`` at any resolution; enlarged bilinearly.
        lesions: bool ``(H, W)``; some pixels of the leaf must be in and some out.
        leaf: bool ``(H, W)``.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    full = laid_over(values, lesions.shape)
    within = leaf | lesions
    truth, given = lesions[within], full[within]
    places = np.quantile(given, np.linspace(0, 1, _THRESHOLDS))
    overlaps = [(truth & (given > t)).sum() / (truth | (given > t)).sum() for t in places]
    return LocalisationScore(
        float(lesions.flat[int(full.argmax())]),
        float(roc_auc_score(truth, given)),
        float(average_precision_score(truth, given)),
        float(max(overlaps)),
    )


def laid_over(values: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Enlarges a map ``(h, w)`` to a photo ``(H, W)``: it lies over all of it, as it was read."""
    size = (shape[1], shape[0])
    full = cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, dtype=np.float32)
