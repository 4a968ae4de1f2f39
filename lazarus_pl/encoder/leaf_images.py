"""What an encoder reads where it is to be measured on something like leaves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lazarus_pl.data.procedural.procedural_leaves import LEAVES, ProceduralLeaves
from lazarus_pl.encoder.encoder import Encoder


def leaf_images(encoder: Encoder) -> Tensor:
    """A drawn leaf of each class, always the same, as :meth:`Encoder.normalise` gives them.

    Args:
        encoder: They have its size, and lie on its device.

    Returns:
        float32 ``(7, 3, S, S)``.
    """
    leaves = ProceduralLeaves(dict.fromkeys(LEAVES, 1), (1, 1), encoder.spec.image_size)
    photos = np.stack([leaves.draw(number).pixels for number in range(len(leaves))])
    return encoder.normalise(torch.from_numpy(photos).to(encoder.mean.device))
