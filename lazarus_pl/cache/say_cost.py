"""What an extraction will cost, in words."""

from __future__ import annotations

from lazarus_pl.duration import say_duration


def say_cost(megabytes: float, seconds: float) -> str:
    """Room on the disk and time, such as ``about 120 MB and 3 min``."""
    return f"about {megabytes:,.0f} MB and {say_duration(seconds)}"
