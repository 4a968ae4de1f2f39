"""A training step of the encoder's last blocks, idle and beside a program that takes one core.

    python benchmarks/busy_step.py

The blocks that fine-tuning trains, in bfloat16 autocast, forward and backward, on grids of noise:
with their pointwise convolutions as products of matrices (lazarus) and as torch has them. All take
turns; milliseconds are of the clock, the median of a turn and the best of the turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

# as the command sets it: before torch is loaded
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from beside import beside
from depthwise import frozen_norms, noise_grids, step
from report import Row, report
from torch import nn

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import EncoderTail

_OURS, _THEIRS = "products (lazarus)", "convolutions"


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    grids = noise_grids(options.batch)
    ours, theirs = (frozen_norms(EncoderTail(Encoder.from_spec(EncoderSpec()))) for _ in range(2))
    for part in theirs.modules():
        if isinstance(part, nn.Conv2d) and part.groups == 1:
            vars(part).pop("forward", None)
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.repeats):
        for machine in ("idle", "busy"):
            with beside(machine, "while True: pass"):
                for way, tail in ((_OURS, ours), (_THEIRS, theirs)):
                    times = [_clock(tail, grids) for _ in range(options.steps)]
                    taken.setdefault((machine, way), []).append(statistics.median(times))
    best = {case: min(times) for case, times in taken.items()}
    rows: list[Row] = [
        {
            "machine": machine,
            "pointwise": way,
            "milliseconds": 1000 * best[machine, way],
            "ratio_to_convolutions": best[machine, way] / best[machine, _THEIRS],
        }
        for machine, way in best
    ]
    about = {"batch": options.batch, "threads": torch.get_num_threads()}
    report("busy_step", rows, about)


def _clock(tail: nn.Module, grids: torch.Tensor) -> float:
    started = time.perf_counter()
    step(tail, grids, mixed=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
