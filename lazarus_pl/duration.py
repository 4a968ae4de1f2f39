"""Times as people write and read them."""

from __future__ import annotations

import re

from lazarus_pl.errors import LazarusError

_SECONDS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(sec|s|min|m|h)")


def read_duration(text: str) -> float:
    """Seconds of ``90s``, ``15min``, ``1h30min``.

    Raises:
        LazarusError: If it is no such time, is nothing, or names no unit.
    """
    squeezed = re.sub(r"\s", "", text.lower())
    if re.fullmatch(r"\d+(?:\.\d+)?", squeezed) and float(squeezed) > 0:
        raise LazarusError(
            f"'{text}' is no time without a unit: give {squeezed}s, {squeezed}min or {squeezed}h"
        )
    parts = _PART.findall(squeezed)
    whole = "".join(number + unit for number, unit in parts)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if whole != squeezed or not 0 < seconds < float("inf"):
        raise LazarusError(f"'{text}' is no time to keep within: give one such as 15min, 90s or 1h")
    return seconds


def say_duration(seconds: float) -> str:
    """``42 s``, ``2.5 min``, ``12 min``, ``1.5 h``, ``3 days``."""
    if seconds < 99.5:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 570:
        return f"{seconds / 60:.1f} min"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"
