"""A copy of an encoder that gives the same features sooner."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lazarus_pl.encoder.agreement import Agreement
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.without_tf32 import without_tf32


def folded_encoder(encoder: Encoder) -> Encoder:
    """A copy, with batch normalisation folded into convolutions if that gives the same values."""
    if not any(isinstance(part, nn.BatchNorm2d) for part in encoder.modules()):
        return copy.deepcopy(encoder)
    folded = encoder.folded().to(encoder.mean.device)
    same = Agreement.of(features_of_noise(encoder, 2), features_of_noise(folded, 2)).suffices("32")
    return folded if same else copy.deepcopy(encoder)


@torch.inference_mode()
def features_of_noise(encoder: Encoder, count: int = 8) -> dict[str, npt.NDArray[np.float64]]:
    """Features by layer of photos of noise, one row a photo, to compare two ways of computing."""
    size = encoder.spec.image_size
    photos = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    with without_tf32():
        images = encoder.normalise(torch.from_numpy(photos).to(encoder.mean.device))
        features = encoder(images)
    return {layer: values.double().cpu().numpy() for layer, values in features.items()}
