"""Photos mixed with others of their batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot


def mix_up(
    features: Mapping[str, Tensor],
    target: Tensor,
    num_classes: int,
    alpha: float,
    rng: np.random.Generator,
) -> tuple[dict[str, Tensor], Tensor]:
    """Mixes each photo with another one (mixup, Zhang et al. 2018, arXiv:1710.09412).

    One share is drawn for the whole batch, so that all layers of a photo are mixed alike.

    Args:
        features: By layer, any shape ``(B, ...)``.
        target: Class indices ``(B,)``.
        num_classes: Number of classes.
        alpha: Of the Beta distribution that the share is drawn from.
        rng: Draws the share and the partners.

    Returns:
        Mixed features in float32, and class probabilities ``(B, num_classes)``.
    """
    share = float(rng.beta(alpha, alpha))
    partner = torch.from_numpy(rng.permutation(len(target))).to(target.device)
    mixed = {layer: _mixed(values.float(), partner, share) for layer, values in features.items()}
    return mixed, _mixed(one_hot(target, num_classes).float(), partner, share)


def _mixed(values: Tensor, partner: Tensor, share: float) -> Tensor:
    return torch.lerp(values[partner], values, share)
