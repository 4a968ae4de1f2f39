from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from lazarus_pl.encoder.without_tf32 import without_tf32

CUDNN: Any = torch.backends.cudnn


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    CUDNN.allow_tf32 = True


@pytest.mark.parametrize("before", [True, False])
def test_the_setting_is_given_back_after_an_error_too(before: bool) -> None:
    CUDNN.allow_tf32 = before
    with pytest.raises(KeyboardInterrupt):
        _break_off()
    assert CUDNN.allow_tf32 == before


@pytest.mark.skipif(not hasattr(CUDNN, "conv"), reason="this torch has no newer setting")
@pytest.mark.parametrize("before", ["ieee", "tf32"])
def test_with_the_newer_setting_too(before: str) -> None:
    CUDNN.conv.fp32_precision = before
    with without_tf32():
        # the older setting, where torch lets it be read, does away with the newer one's value
        assert CUDNN.conv.fp32_precision == ("ieee" if before == "ieee" else "none")
    assert CUDNN.conv.fp32_precision == before


@without_tf32()
def _break_off() -> None:
    assert not CUDNN.allow_tf32
    raise KeyboardInterrupt
