"""Class names as people read them."""

from __future__ import annotations


def plain_name(name: str) -> str:
    """A class name without what stands for spaces: ``Potato___Late_blight``."""
    return name.replace("___", " ").replace("_", " ")
