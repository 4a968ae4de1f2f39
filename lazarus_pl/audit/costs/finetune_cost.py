"""What an epoch of fine-tuning will cost: real steps of the real backbone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from lazarus_pl.audit.costs.memory import (
    CONTEXT_MB,
    FLOAT_BYTES,
    MB,
    SavedBytes,
    resident_mb,
)
from lazarus_pl.audit.costs.stage_cost import StageCost
from lazarus_pl.data.decode import read_bytes, read_pixels
from lazarus_pl.data.photo import Photo
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec

STAGES = {"frozen": 0.0, "partly unfrozen": 0.4, "unfrozen": 1.0}

_BATCH = 8
_LEAST_BATCH, _MOST_BATCH = 1, 64
_ADVICE = {
    "frozen": "nothing is learnt in the backbone: train heads on the cache instead",
    "partly unfrozen": "a GPU; keep early stages frozen: no activations are kept under them",
    "unfrozen": "a GPU, and gradient accumulation with small batches on 4 GB",
}


@dataclass(frozen=True)
class FinetuneProbe:
    """Cost of one epoch, and what decides how large a batch may be.

    Attributes:
        cost: At a batch of 8.
        fixed_mb: GPU memory of weights, gradients and moments, and of CUDA itself.
        photo_mb: GPU memory that every photo of a batch adds, in float32.
    """

    cost: StageCost
    fixed_mb: float
    photo_mb: float

    def largest_batch(self, gpu_mb: float) -> int:
        """Largest power of two that fits, at most 64; 0 if nothing does."""
        fitting = int((gpu_mb - self.fixed_mb) / max(self.photo_mb, 1e-9))
        if fitting < _LEAST_BATCH:
            return 0
        return int(2 ** int(np.log2(min(fitting, _MOST_BATCH))))


def probe_finetuning(
    root: Path, sample: Sequence[Photo], train_photos: int, spec: EncoderSpec, device: torch.device
) -> dict[str, FinetuneProbe]:
    """Times one step of AdamW with nothing, the last 40 % and all of the backbone unfrozen.

    Args:
        root: What the sample's paths are relative to.
        sample: At least one photo.
        train_photos: Photos of one epoch.
        spec: The backbone and its photos' size.
        device: Where to run it.
    """
    pixels = [read_pixels(read_bytes(root / p.path), spec.image_size) for p in sample[:_BATCH]]
    photos = torch.from_numpy(np.stack([pixels[n % len(pixels)] for n in range(_BATCH)]))
    encoder = Encoder.from_spec(spec).to(device).to(memory_format=torch.channels_last)
    # each stage thaws more of the same backbone than the one before
    return {
        name: _probe(name, share, photos.to(device), train_photos, encoder)
        for name, share in STAGES.items()
    }


def _probe(
    name: str,
    share: float,
    photos: Tensor,
    train_photos: int,
    encoder: Encoder,
) -> FinetuneProbe:
    _unfreeze(encoder, share)
    images = encoder.normalise(photos)
    head = nn.Linear(encoder.model.num_features, 2, device=photos.device)
    thawed = [p for p in (*encoder.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = AdamW(thawed)

    def loss() -> Tensor:
        features = encoder.model.forward_features(images)
        # one prediction a photo, whatever the backbone's shape of features is
        pooled = features.flatten(2).mean(-1) if features.ndim == 4 else features.mean(1)
        outcome: Tensor = head(pooled[:, : head.in_features]).square().mean()
        return outcome

    def step() -> None:
        torch.autograd.backward(loss())
        optimizer.step()
        optimizer.zero_grad()
        if photos.is_cuda:
            torch.cuda.synchronize()

    with SavedBytes() as saved:
        step()
    started = time.perf_counter()
    step()
    seconds = time.perf_counter() - started
    weights = sum(p.numel() for p in encoder.parameters())
    # gradients and AdamW's two moments
    learnt = 3 * sum(p.numel() for p in thawed)
    fixed_mb = CONTEXT_MB + FLOAT_BYTES * (weights + learnt) / MB
    photo_mb = max(saved.total, images.numel() * FLOAT_BYTES) / _BATCH / MB
    cost = StageCost(
        stage=f"fine-tuning, one epoch, backbone {name}",
        seconds=seconds * train_photos / _BATCH,
        disk_mb=FLOAT_BYTES * (weights + learnt * 2 / 3) / MB,
        ram_mb=resident_mb(),
        gpu_mb=fixed_mb + _BATCH * photo_mb,
        bottleneck="backbone",
        advice=_ADVICE[name],
    )
    return FinetuneProbe(cost, fixed_mb, photo_mb)


def _unfreeze(encoder: Encoder, share: float) -> None:
    """Lets the last share of the parameters learn, counted in tensors from the output."""
    parameters = list(encoder.model.parameters())
    for parameter in parameters[len(parameters) - round(share * len(parameters)) :]:
        parameter.requires_grad_(True)
