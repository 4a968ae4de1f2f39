"""What an extraction will cost, in words."""

from __future__ import annotations


def say_cost(megabytes: float, seconds: float) -> str:
    """Room on the disk and time, such as ``about 120 MB and 3 min``."""
    return f"about {megabytes:,.0f} MB and {_duration(seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
