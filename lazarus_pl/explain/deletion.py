"""Whether a diagnosis depends on what a map marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lazarus_pl.heads.head import Head

_STEPS = 12


@torch.no_grad()
def deletion_insertion(
    head: Head,
    features: Mapping[str, Tensor],
    maps: Tensor,
    target: Tensor,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Areas under the class's probability (Petsiuk et al. 2018, arXiv:1806.07421).

    A patch that is taken away becomes the mean patch of the training photos, as
    :meth:`~lazarus_pl.heads.head.Head.fade` says.

    Args:
        head: In evaluation mode.
        features: Standardised grids ``(B, H, W, C)`` by layer.
        maps: ``(B, H, W)`` of the finest grid, the likeliest patches highest.
        target: Class indices ``(B,)``.
        temperature: Logits are divided by it, where the checkpoint was calibrated.

    Returns:
        Deletion (lower is better) and insertion (higher is better), ``(B,)`` each, 0 to 1.
    """
    order = maps.flatten(1).argsort(dim=1, descending=True).argsort(dim=1).view_as(maps)
    share = order.float() / order[0].numel()
    logits = head.fade(features)

    def probability(kept: Tensor) -> Tensor:
        said = (logits(kept.float()).float() / temperature).softmax(dim=-1)
        return said.gather(1, target[:, None])[:, 0]

    # both curves have the same ends
    whole, nothing = (probability(end(maps)) for end in (torch.ones_like, torch.zeros_like))
    gone = [share < step / _STEPS for step in range(1, _STEPS)]
    deletion = [whole, *(probability(~patches) for patches in gone), nothing]
    insertion = [nothing, *(probability(patches) for patches in gone), whole]
    return _area(deletion), _area(insertion)


def _area(curve: Sequence[Tensor]) -> Tensor:
    return torch.trapezoid(torch.stack([*curve]), dx=1 / _STEPS, dim=0)
