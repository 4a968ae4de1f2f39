from __future__ import annotations

import numpy as np
import pytest

from lazarus_pl.leaf.leaf_mask import CONFIDENT, LeafMask
from tests.leaf.scenes import leaf_scene


def test_coverage_and_confidence() -> None:
    mask = np.zeros((10, 20), dtype=np.bool_)
    mask[:5] = True
    assert LeafMask(mask, CONFIDENT).coverage == 0.5
    assert LeafMask(mask, CONFIDENT).is_confident
    assert not LeafMask(mask, CONFIDENT - 0.01).is_confident


@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (1024, 700)])
def test_alpha_is_soft_at_the_outline_only(shape: tuple[int, int]) -> None:
    _, truth = leaf_scene(shape=shape)
    alpha = LeafMask(truth, 1.0).alpha()
    assert alpha.shape == shape
    assert alpha.dtype == np.float32
    assert 0 <= alpha.min() < alpha.max() <= 1
    assert (alpha > 0)[truth].mean() > 0.97
    soft = (alpha > 0) & (alpha < 1)
    assert 0 < soft.mean() < 0.08


def test_alpha_keeps_the_frame_where_the_leaf_leaves_it() -> None:
    mask = np.ones((64, 64), dtype=np.bool_)
    assert (LeafMask(mask, 1.0).alpha() == 1).all()


def test_softness_must_be_positive() -> None:
    with pytest.raises(ValueError, match="above 0"):
        LeafMask(np.ones((4, 4), dtype=np.bool_), 1.0).alpha(0)
