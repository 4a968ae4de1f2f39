"""Numbers that a user gives."""

from __future__ import annotations

import math
from typing import TypeGuard

from lazarus_pl.errors import LazarusError


def check_share(name: str, value: object, whole: bool = True) -> None:
    """Makes sure that a value is a share, 0 to 1.

    Args:
        name: What the user calls it.
        value: What they gave.
        whole: Whether it may be all of it, 1.

    Raises:
        LazarusError: If it is not.
    """
    if not _is_number(value) or not 0 <= value <= 1 or (value == 1 and not whole):
        raise LazarusError(
            f"{name} {value!r} cannot be: give a number from 0 to {'1' if whole else 'below 1'}"
        )


def check_count(name: str, value: object) -> None:
    """Makes sure that a value is a whole number of at least 1.

    Raises:
        LazarusError: If it is not.
    """
    if not _is_number(value) or not isinstance(value, int) or value < 1:
        raise LazarusError(f"{name} {value!r} cannot be: give a whole number of at least 1")


def check_rate(name: str, value: object, zero: bool = False) -> None:
    """Makes sure that a value is a finite number above 0, or 0 where that may be.

    Raises:
        LazarusError: If it is not.
    """
    if not _is_number(value) or value < 0 or (value == 0 and not zero) or math.isinf(value):
        raise LazarusError(
            f"{name} {value!r} cannot be: give a number {'of 0 or more' if zero else 'above 0'}"
        )


def _is_number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return not math.isnan(value)
