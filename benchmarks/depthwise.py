"""A training step of the encoder's last blocks, as lazarus has it and as torch has it.

    python benchmarks/depthwise.py

The blocks that fine-tuning trains, in bfloat16 autocast and in float32, forward and backward, on
grids of noise, with their batch normalisation frozen; lazarus' with depthwise convolutions in
float32 whose wide kernels learn in parts, products of matrices instead of pointwise ones, and a
mean instead of timm's pool. All take turns; seconds are of the processor, the best of some.
"""

from __future__ import annotations

import argparse
import os
from functools import partial

# as the command sets it: before torch is loaded
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from report import Row, report
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from turns import best_of_turns

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import EncoderTail
from lazarus_pl.encoder.exact_depthwise import exact_depthwise

_GRID = (16, 16, 112)
_OURS = "bfloat16 (lazarus)"


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    grids = noise_grids(options.batch)
    encoder = Encoder.from_spec(EncoderSpec())
    ours, slow, plain = (frozen_norms(EncoderTail(encoder)) for _ in range(3))
    take_back_gradients(slow, encoder)
    as_torch_has_it(plain, encoder)
    ways = {
        "float32": (plain, False),
        "float32 (lazarus)": (ours, False),
        "bfloat16": (plain, True),
        "bfloat16 (lazarus, torch's gradients)": (slow, True),
        _OURS: (ours, True),
    }
    steps = {way: partial(step, tail, grids, mixed) for way, (tail, mixed) in ways.items()}
    for each in steps.values():
        each()
    taken = best_of_turns(steps, options.repeats)
    rows: list[Row] = [
        {
            "way": way,
            "processor_seconds": took.processor,
            "seconds": took.seconds,
            "ratio": took.processor / taken[_OURS].processor,
        }
        for way, took in taken.items()
    ]
    report("depthwise", rows, {"batch": options.batch, "threads": torch.get_num_threads()})


def frozen_norms(tail: EncoderTail) -> EncoderTail:
    """The tail with its batch normalisation frozen, as fine-tuning has it."""
    for part in tail.modules():
        if isinstance(part, _BatchNorm):
            part.eval().requires_grad_(False)
    return tail


def take_back_gradients(tail: EncoderTail, encoder: Encoder) -> None:
    """Takes back what lazarus does about wide kernels and the pool alone."""
    for part in tail.modules():
        if isinstance(part, nn.Conv2d) and part.groups > 1:
            del vars(part)["forward"]
    exact_depthwise(tail)
    pool = encoder.model.global_pool
    assert isinstance(pool, nn.Module)
    tail.pool = pool


def as_torch_has_it(tail: EncoderTail, encoder: Encoder) -> None:
    """Takes back all that lazarus does otherwise than timm and torch."""
    take_back_gradients(tail, encoder)
    for part in tail.modules():
        vars(part).pop("forward", None)


def noise_grids(batch: int) -> torch.Tensor:
    """Grids of noise ``(B, 16, 16, C)``, as the encoder's last blocks take them."""
    torch.manual_seed(0)
    return torch.randn(batch, *_GRID)


def step(tail: nn.Module, grids: torch.Tensor, mixed: bool) -> None:
    """Once forward and backward, in bfloat16 autocast or in float32."""
    tail.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        layers = tail(grids)
    sum(layers[name].float().square().mean() for name in ("pooled", "grid32")).backward()


if __name__ == "__main__":
    main()
