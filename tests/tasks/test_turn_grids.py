from __future__ import annotations

import numpy as np
import pytest
import torch

from lazarus_pl.tasks.turn_grids import turn_grids


def ways(grid: torch.Tensor) -> list[torch.Tensor]:
    turned = [torch.rot90(grid, times, (0, 1)) for times in range(4)]
    return turned + [each.flip(0) for each in turned]


def test_each_photo_is_turned_one_of_eight_ways() -> None:
    fine, coarse = torch.randn(200, 4, 4, 2), torch.randn(200, 2, 2, 3)
    turned = turn_grids({"grid16": fine, "grid32": coarse}, np.random.default_rng(0))
    counts = np.zeros(8, dtype=int)
    for photo in range(200):
        same = [
            [torch.equal(turned[layer][photo], way) for way in ways(values[photo])]
            for layer, values in (("grid16", fine), ("grid32", coarse))
        ]
        assert same[0] == same[1], "layers of a photo are turned alike"
        counts += np.array(same[0])
    assert counts.sum() == 200
    # about 25 each
    assert counts.min() > 8


def test_the_same_draws_turn_the_same_way() -> None:
    grids = {"grid16": torch.randn(8, 4, 4, 2)}
    first, again, other = (
        turn_grids(grids, np.random.default_rng(seed))["grid16"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_what_is_not_square_keeps_its_shape(shape: tuple[int, int]) -> None:
    grids = {"grid16": torch.randn(16, *shape, 2)}
    turned = turn_grids(grids, np.random.default_rng(0))["grid16"]
    assert turned.shape == grids["grid16"].shape
