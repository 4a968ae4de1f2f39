"""A linear head in seconds, to measure what a split or a probe is worth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.intp]

_C = 0.1
_ITERATIONS = 200


def quick_probabilities(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.intp],
    train: Places,
    held: Places,
    num_classes: int,
) -> npt.NDArray[np.float64]:
    """Class probabilities by a logistic regression (scikit-learn) on standardised features.

    Args:
        features: ``(photos, C)``.
        labels: Class index of each photo.
        train: Places that it learns from.
        held: Places that it predicts.
        num_classes: Of all photos; a class that is not in train has probability 0.

    Returns:
        ``(len(held), num_classes)``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features[train])
    probabilities = np.zeros((len(held), num_classes))
    present = np.unique(labels[train])
    if len(present) == 1:
        probabilities[:, present] = 1
        return probabilities
    # a tolerance at which macro-F1 has long stopped to change
    head = LogisticRegression(C=_C, max_iter=_ITERATIONS, tol=1e-2)
    head.fit(scaler.transform(features[train]), labels[train])
    probabilities[:, head.classes_] = head.predict_proba(scaler.transform(features[held]))
    return probabilities


def macro_f1(truth: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp]) -> float:
    """Mean F1 over the classes that occur in the truth."""
    from sklearn.metrics import f1_score

    return float(
        f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    )
