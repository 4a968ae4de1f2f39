"""Convolutions in float32 as such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def without_tf32() -> Iterator[None]:
    """Has cuDNN keep float32, which it rounds to ten bits by default on GPUs from Ampere on.

    torch from 2.9 on has another setting for it, and refuses to mix the two.
    """
    cudnn: Any = torch.backends.cudnn
    newer = hasattr(getattr(cudnn, "conv", None), "fp32_precision")
    holder, name, exact = (
        (cudnn.conv, "fp32_precision", "ieee") if newer else (cudnn, "allow_tf32", False)
    )
    before = getattr(holder, name)
    setattr(holder, name, exact)
    try:
        yield
    finally:
        setattr(holder, name, before)
