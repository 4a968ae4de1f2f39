"""One number that makes probabilities honest."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

# beyond these a head is not miscalibrated but wrong everywhere, or right everywhere; one whose
# training was stopped early can be right with logits that are all alike to a hundredth
_LOWEST, _HIGHEST = 0.002, 20.0
# of the logarithm: without photos, a temperature under 0.37 is as good as excluded
_SPREAD = 0.5
# temperatures between which the search begins
_TRIED = 25


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature that logits are divided by, so that val is most likely.

    It changes no prediction (Guo et al. 2017, arXiv:1706.04599). Where a head is right on every
    photo, the likelihood alone would have it certain, however few they are. So a temperature below
    1, which makes a head more sure than it is, must be paid for by photos: its logarithm has a
    normal prior around 0. That is the remedy of Gelman et al. 2008 (arXiv:0901.4011) for the same
    fault of logistic regression; many photos outweigh it. A temperature above 1 is free. A bounded
    search finds the maximum (Brent, by SciPy), from the best of some temperatures on.

    Args:
        logits: Of photos that the head was not trained on, ``(N, classes)``.
        target: Their classes, ``(N,)``.

    Returns:
        Above 1 where the head is too sure of itself; from 0.002 to 20.
    """
    from scipy.optimize import minimize_scalar

    exact = logits.double()

    def loss(log_temperature: float) -> float:
        surer = min(0.0, log_temperature) / _SPREAD
        misfit = cross_entropy(exact / math.exp(log_temperature), target, reduction="sum")
        return float(misfit) + surer**2 / 2

    # prior and photos may each have a minimum of their own
    tried = np.linspace(math.log(_LOWEST), math.log(_HIGHEST), _TRIED)
    best = int(np.argmin([loss(each) for each in tried]))
    bounds = tried[max(0, best - 1)], tried[min(_TRIED - 1, best + 1)]
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)
