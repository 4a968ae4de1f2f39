from __future__ import annotations

import pytest

from lazarus_pl.explain import attribution
from lazarus_pl.usable_memory import UsableMemory

GIB = 1 << 30


def test_integrated_gradients_keep_to_the_memory_of_the_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = 20 * 20 * 320
    sizes = []
    for free in (64 * GIB, GIB, 0):
        monkeypatch.setattr(
            attribution, "usable_memory", lambda free=free: UsableMemory(64 * GIB, free)
        )
        sizes.append(attribution._batch_size(values))
    assert sizes == [512, 32, 1]
