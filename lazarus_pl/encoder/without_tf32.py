"""Convolutions in float32 as such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def without_tf32() -> Iterator[None]:
    """Has cuDNN keep float32, which it rounds to ten bits by default on GPUs from Ampere on."""
    holder, name, exact = _setting()
    before = getattr(holder, name)
    setattr(holder, name, exact)
    try:
        yield
    finally:
        setattr(holder, name, before)


def _setting() -> tuple[Any, str, Any]:
    """The setting that is in use, and its value without TF32."""
    cudnn: Any = torch.backends.cudnn
    try:
        _ = cudnn.allow_tf32
    except RuntimeError:
        # torch refuses it once its newer setting (from 2.9 on) has been used
        return cudnn.conv, "fp32_precision", "ieee"
    return cudnn, "allow_tf32", False
