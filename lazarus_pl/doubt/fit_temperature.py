"""One number that makes probabilities honest."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import cross_entropy

# beyond these a head is not miscalibrated but wrong everywhere, or right everywhere
_LOWEST, _HIGHEST = 0.05, 20.0


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature that logits are divided by, so that the likelihood of val is highest.

    It changes no prediction (Guo et al. 2017, arXiv:1706.04599). The likelihood has one maximum,
    which a bounded search finds (Brent, by SciPy).

    Args:
        logits: Of photos that the head was not trained on, ``(N, classes)``.
        target: Their classes, ``(N,)``.

    Returns:
        Above 1 where the head is too sure of itself; from 0.05 to 20.
    """
    from scipy.optimize import minimize_scalar

    exact = logits.double()

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(exact / math.exp(log_temperature), target))

    bounds = (math.log(_LOWEST), math.log(_HIGHEST))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)
