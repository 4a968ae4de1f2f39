"""Whether reduced precision means the same as float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_pl.audit.doctor.probe.stage import Facts

if TYPE_CHECKING:
    import torch

_AMPERE = 8


def precision() -> Facts:
    """Compares eight photos through the real backbone, in what the device computes in.

    fp16 on a GPU; bf16 on a GPU from Ampere on, and on a CPU with AVX-512-BF16 or AMX.
    """
    import torch

    from lazarus_pl.encoder.encoder import Encoder
    from lazarus_pl.encoder.encoder_spec import EncoderSpec
    from lazarus_pl.encoder.launch_kernel import launch_kernel
    from lazarus_pl.encoder.torch_engine import agreement

    on_gpu = torch.cuda.is_available() and not launch_kernel()
    device = torch.device("cuda" if on_gpu else "cpu")
    asked = _worth_asking(device)
    if not asked:
        return {"agreement": {}}
    encoder = Encoder.from_spec(EncoderSpec())
    return {"agreement": {name: agreement(encoder, device, name) for name in asked}}


def _worth_asking(device: torch.device) -> list[str]:
    import torch

    from lazarus_pl.encoder.precision import best_precision

    if device.type == "cpu":
        return ["bf16"] if best_precision(device) == "bf16" else []
    from_ampere = torch.cuda.get_device_capability(device)[0] >= _AMPERE
    return ["16", "bf16"] if from_ampere else ["16"]
