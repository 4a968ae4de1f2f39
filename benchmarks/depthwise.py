"""A training step of the encoder's last blocks, as lazarus has it and as torch has it.

    python benchmarks/depthwise.py

The blocks that fine-tuning trains, in bfloat16 autocast and in float32, forward and backward, on
grids of noise; lazarus' with depthwise convolutions in float32 and products of matrices instead of
pointwise ones. Seconds are of the processor, the best of some.
"""

from __future__ import annotations

import argparse
import time

import torch
from report import Row, report
from torch import nn

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import EncoderTail

_GRID = (16, 16, 112)
_OURS = "bfloat16 (lazarus)"


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    grids = noise_grids(options.batch)
    exact, plain = (EncoderTail(Encoder.from_spec(EncoderSpec())) for _ in range(2))
    for part in plain.modules():
        # as torch has it
        vars(part).pop("forward", None)
    seconds: dict[str, float] = {}
    for way, tail, mixed in (
        ("float32", plain, False),
        ("bfloat16", plain, True),
        (_OURS, exact, True),
    ):
        seconds[way] = min(_step(tail, grids, mixed) for _ in range(options.repeats))
    ours = seconds[_OURS]
    rows: list[Row] = [
        {"way": way, "processor_seconds": took, "ratio": took / ours}
        for way, took in seconds.items()
    ]
    report("depthwise", rows, {"batch": options.batch, "threads": torch.get_num_threads()})


def noise_grids(batch: int) -> torch.Tensor:
    """Grids of noise ``(B, 16, 16, C)``, as the encoder's last blocks take them."""
    torch.manual_seed(0)
    return torch.randn(batch, *_GRID)


def _step(tail: nn.Module, grids: torch.Tensor, mixed: bool) -> float:
    started = time.process_time()
    step(tail, grids, mixed)
    return time.process_time() - started


def step(tail: nn.Module, grids: torch.Tensor, mixed: bool) -> None:
    """Once forward and backward, in bfloat16 autocast or in float32."""
    tail.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        layers = tail(grids)
    sum(layers[name].float().square().mean() for name in ("pooled", "grid32")).backward()


if __name__ == "__main__":
    main()
