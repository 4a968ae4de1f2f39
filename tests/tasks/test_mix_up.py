from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lazarus_pl.tasks.mix_up import mix_up


class Fixed:
    """A generator whose draws are known."""

    def beta(self, a: float, b: float) -> float:
        assert a == b == 0.4
        return 0.75

    def permutation(self, size: int) -> np.ndarray:
        return np.array([2, 0, 1])[:size]


def test_by_hand() -> None:
    features = {
        "pooled": torch.tensor([[0.0, 8.0], [4.0, 4.0], [8.0, 0.0]], dtype=torch.float16),
        "grid": torch.arange(3.0).view(3, 1, 1, 1),
    }
    mixed, soft = mix_up(features, torch.tensor([0, 1, 1]), 2, 0.4, Fixed())  # type: ignore[arg-type]
    assert mixed["pooled"].tolist() == [[2.0, 6.0], [3.0, 5.0], [7.0, 1.0]]
    assert mixed["grid"].flatten().tolist() == [0.5, 0.75, 1.75]
    assert soft.tolist() == [[0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    assert mixed["pooled"].dtype == torch.float32


def test_the_loss_is_the_mean_of_both_labels_losses() -> None:
    target, logits = torch.tensor([0, 1, 2, 1]), torch.randn(4, 3)
    rng = np.random.default_rng(0)
    _, soft = mix_up({}, target, 3, 0.3, rng)
    again = np.random.default_rng(0)
    share, partner = again.beta(0.3, 0.3), torch.from_numpy(again.permutation(4))
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    expected = share * loss(logits, target) + (1 - share) * loss(logits, target[partner])
    assert float(loss(logits, soft)) == pytest.approx(float(expected), abs=1e-5)
