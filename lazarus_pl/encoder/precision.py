"""Which precision a device computes in without losing time or truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "32", "bf16", "16"]

# what bf16 and fp16 give on sound hardware, compared with float32: the worst photo and the mean
MIN_COSINE = 0.995
MIN_MEAN = 0.998
# between two ways to compute the same in float32
MIN_SAME = 0.999_999
# stands for the cosine where a value is not finite
NOT_FINITE = -1.0

_PASCAL = 6


def best_precision(device: torch.device) -> Precision:
    """``bf16`` on a CPU that computes in it, ``16`` on a GPU from Volta on, ``32`` elsewhere.

    A CPU without AVX-512-BF16 or AMX emulates bf16, at less than half its speed (pytorch #86270);
    Pascal runs fp16 at a sixty-fourth of its speed.
    """
    import torch

    if device.type == "cuda":
        return "16" if torch.cuda.get_device_capability(device)[0] > _PASCAL else "32"
    # private in torch, so they may go: then float32 it is
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if device.type == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks):
        return "bf16"
    return "32"


def best_training_precision(device: torch.device) -> Precision:
    """As :func:`best_precision`, but ``bf16`` on a GPU that computes in it, from Ampere on.

    It needs no loss scaler. A scaler belongs to one run, so heads in fp16 cannot be trained
    together.
    """
    import torch

    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return best_precision(device)
