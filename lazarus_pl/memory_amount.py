"""Amounts of memory as people write them."""

from __future__ import annotations

import re

from lazarus_pl.errors import LazarusError

_BYTES = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]i?B)", re.IGNORECASE)


def read_memory(text: str) -> int:
    """Bytes of ``4GB``, ``512MB`` or ``3.5 GiB``.

    Raises:
        LazarusError: If it is no such amount, or is nothing.
    """
    found = _AMOUNT.fullmatch(text.strip())
    amount = int(float(found[1]) * _BYTES[found[2].upper()]) if found else 0
    if amount < 1:
        raise LazarusError(f"'{text}' is no amount of memory: give one such as 4GB or 512MB")
    return amount
