"""What a batch knows before its lesion loss is taken in parts."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor


class LesionWeights(TypedDict):
    """What the patches of a photo weigh in the two means of the lesion branch's loss.

    Attributes:
        lesions: Those taken for lesions, a scalar; the mean over photos.
        others: Those taken for sound tissue.
    """

    lesions: Tensor
    others: Tensor
