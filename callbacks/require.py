"""Conditions that a user can meet, in one sentence where they are not."""

from __future__ import annotations

from lightning.fabric.utilities.exceptions import MisconfigurationException


def require(right: bool, otherwise: str) -> None:
    """Raises ``MisconfigurationException(otherwise)`` unless ``right``."""
    if not right:
        raise MisconfigurationException(otherwise)
