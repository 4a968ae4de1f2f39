"""What is shown of one photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PhotoMaps:
    """Maps over one whole photo, float32 ``(H, W)`` of patches; NaN what a head cannot give.

    Attributes:
        attention: Relative weights that sum to 1; no evidence of anything.
        evidence: Log-odds of the class against sound tissue, sharpened by colours; or what the
            head has nearest to it.
        lesions: Evidence of a disease with the colours of smaller cells, float32 ``(128, 128)``;
            nothing off the leaf is marked, where a leaf stands off its background, and nothing at
            all of a healthy class.
        attribution: Integrated Gradients of the class's logit; they sum to its rise.
        grad_cam: Grad-CAM on the backbone's last map.
        probability: Of every class, ``(K,)``, from the tensor that the maps were made from.
        target: The class that the maps are of.
        completeness: What Integrated Gradients miss of the logit's rise, as a share of it.
        deletion: Area under the probability as the likeliest patches are taken away, 0 to 1.
        insertion: The same as they are put back.
        severity: The share of the leaf that is marked, 0 to 1; NaN from a head without evidence.
        outside: The share of what the map of lesions marks that lies off the leaf and its bays,
            0 to 1.
        sound: Whether the class is a healthy one, of a head that knows lesions.
    """

    attention: Floats
    evidence: Floats
    lesions: Floats
    attribution: Floats
    grad_cam: Floats
    probability: Floats
    target: int
    completeness: float = math.nan
    deletion: float = math.nan
    insertion: float = math.nan
    severity: float = math.nan
    outside: float = math.nan
    sound: bool = False

    @property
    def shown(self) -> Floats:
        """The map laid over the photo: lesions, else evidence, attribution, Grad-CAM."""
        for values in (self.lesions, self.evidence, self.attribution, self.grad_cam):
            if np.isfinite(values).all():
                return values
        return np.zeros_like(self.evidence)

    @property
    def effective_patches(self) -> float:
        """Exponential of the attention's entropy: how many patches share the weight."""
        weights = self.attention[self.attention > 0].astype(np.float64)
        return float(np.exp(-(weights * np.log(weights)).sum())) if len(weights) else math.nan

    @property
    def weak(self) -> str:
        """Why the map should not be trusted; nothing where no reason is known.

        Deletion and insertion give none: maps that find lesions and maps that miss them do not
        differ in them (``benchmarks/weak_maps.py``).
        """
        speaks = self.evidence if self.sound else self.shown
        if speaks.max() <= 0:
            return "no patch speaks for the class"
        if self.outside > 0.5:
            return "most of what it marks lies off the leaf"
        if self.probability[self.target] < 0.5:
            return "to the model that draws it the class is less likely than not"
        return ""
