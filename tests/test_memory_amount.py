from __future__ import annotations

import pytest

from lazarus_pl.errors import LazarusError
from lazarus_pl.memory_amount import read_memory


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("4GB", 4_000_000_000),
        ("3.5 GiB", 3_758_096_384),
        (" 512mb ", 512_000_000),
        ("1KiB", 1024),
        ("10kb", 10_000),
    ],
)
def test_amounts(text: str, amount: int) -> None:
    assert read_memory(text) == amount


@pytest.mark.parametrize(
    "text", ["4", "0GB", "-1GB", "much", "", "4 G B", "nanGB", "1e3GB", "0.1B"]
)
def test_no_amounts(text: str) -> None:
    with pytest.raises(LazarusError, match="is no amount of memory: give one such as 4GB"):
        read_memory(text)
