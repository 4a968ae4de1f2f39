"""Precisions by name."""

from typing import Literal

Precision = Literal["auto", "32", "bf16", "16"]
