"""What a patch head reads in photos."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PatchReading(NamedTuple):
    """What a patch head reads in ``B`` photos of ``H x W`` patches and ``K`` classes.

    In training with patch dropout only ``n`` patches of each photo are read: ``H, W`` is ``n, 1``.

    Attributes:
        logits: ``(B, K)``.
        attention: float32 ``(B, H, W, K)``, one map a class, each sums to 1.
        scores: What each patch adds to each class's logit, ``(B, H, W, K)``.
        instances: What each patch says of its photo by itself, ``(B, H, W, K + 1)``: its class,
            and last whether the photo is ill.
        lesions: Lesion branch, ``(B, H, W, K + 1)``; the last column is sound tissue of a crop
            without a healthy class.
        kept: bool ``(B, H, W)``, where there is a patch; what the others say elsewhere is padding.
    """

    logits: Tensor
    attention: Tensor
    scores: Tensor
    instances: Tensor
    lesions: Tensor
    kept: Tensor
