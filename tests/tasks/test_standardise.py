from __future__ import annotations

import pytest
import torch

from lazarus_pl.tasks import standardise as module
from lazarus_pl.tasks.standardise import Standardise


@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize("mixed", [False, True])
def test_parts_are_the_whole_to_the_last_bit(
    rows: int, mixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PART", 2 * 4 * 4 * 3)
    draw = torch.Generator().manual_seed(0)
    standardise = Standardise(3)
    standardise.fit(torch.rand(3, generator=draw), torch.tensor([0.5, 0.0, 2.0]))
    features = torch.randn(rows, 4, 4, 3, generator=draw).half()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        found = standardise(features)
        # float32 is taken whole
        wanted = standardise(features.float())
    assert found.dtype == (torch.bfloat16 if mixed else torch.float32)
    assert torch.equal(found, wanted)
    asked = features.clone().requires_grad_()
    standardise(asked).sum().backward()
    assert asked.grad is not None
