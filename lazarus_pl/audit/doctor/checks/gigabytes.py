"""Bytes for people."""

from __future__ import annotations

GIB = 1 << 30


def gigabytes(count: int) -> str:
    """As ``3.9 GB``, in units of 2**30 bytes as cards and memory are sold."""
    return f"{count / GIB:.1f} GB"
