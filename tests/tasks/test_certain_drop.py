"""The fall of a recall that chance does not explain."""

from __future__ import annotations

import torch

from lazarus_pl.tasks.certain_drop import certain_drop


def test_it_is_the_lower_end_of_the_interval_of_agresti_and_caffo() -> None:
    counts = torch.tensor([3, 25, 60, 50, 50])
    before = torch.tensor([3, 25, 60, 10, 45]) / counts
    now = torch.tensor([1, 10, 30, 40, 40]) / counts
    # statsmodels 0.14: confint_proportions_2indep(..., method="agresti-caffo", compare="diff")
    expected = torch.tensor([-0.154362, 0.357002, 0.355524, -0.733904, -0.044778])
    torch.testing.assert_close(certain_drop(before, now, counts), expected, rtol=0, atol=2e-5)


def test_a_class_without_photos_has_lost_nothing() -> None:
    nothing = torch.zeros(1)
    assert certain_drop(nothing, nothing, nothing) < 0
