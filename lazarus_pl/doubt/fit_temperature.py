"""One number that makes probabilities honest."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import cross_entropy

# beyond these a head is not miscalibrated but wrong everywhere, or right everywhere
_LOWEST, _HIGHEST = 0.05, 20.0
# of the logarithm: without photos, a temperature under 0.37 is as good as excluded
_SPREAD = 0.5


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature that logits are divided by, so that val is most likely.

    It changes no prediction (Guo et al. 2017, arXiv:1706.04599). Where a head is right on every
    photo, the likelihood alone would have it certain, however few they are. So a temperature below
    1, which makes a head more sure than it is, must be paid for by photos: its logarithm has a
    normal prior around 0. That is the remedy of Gelman et al. 2008 (arXiv:0901.4011) for the same
    fault of logistic regression; many photos outweigh it. A temperature above 1 is free. A bounded
    search finds the maximum (Brent, by SciPy).

    Args:
        logits: Of photos that the head was not trained on, ``(N, classes)``.
        target: Their classes, ``(N,)``.

    Returns:
        Above 1 where the head is too sure of itself; from 0.05 to 20.
    """
    from scipy.optimize import minimize_scalar

    exact = logits.double()

    def loss(log_temperature: float) -> float:
        surer = min(0.0, log_temperature) / _SPREAD
        misfit = cross_entropy(exact / math.exp(log_temperature), target, reduction="sum")
        return float(misfit) + surer**2 / 2

    bounds = (math.log(_LOWEST), math.log(_HIGHEST))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)
