from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lazarus_pl.tasks.flip_grids import flip_grids


def orientations(grid: Tensor) -> list[Tensor]:
    turned = [torch.rot90(grid, times, (0, 1)) for times in range(4)]
    return turned + [one.flip(0) for one in turned]


def test_each_grid_is_flipped_in_one_of_eight_ways_and_all_occur() -> None:
    grids = torch.randn(200, 4, 4, 3).half()
    turned = flip_grids(grids, np.random.default_rng(0))
    assert turned.dtype == grids.dtype
    ways = [
        next(way for way, grid in enumerate(orientations(before)) if grid.equal(after))
        for before, after in zip(grids, turned, strict=True)
    ]
    counts = np.bincount(ways, minlength=8)
    assert counts.min() > 200 / 8 / 2
    assert turned.equal(flip_grids(grids, np.random.default_rng(0)))


def test_a_grid_that_is_not_square_is_not_transposed() -> None:
    grids = torch.arange(24.0).view(1, 2, 4, 3)
    for seed in range(8):
        turned = flip_grids(grids, np.random.default_rng(seed))
        assert turned.shape == grids.shape
        assert any(turned[0].equal(grids[0].flip(axes)) for axes in ([], [0], [1], [0, 1]))
