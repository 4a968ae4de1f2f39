"""What torch was built for, what it sees, and whether what stands on it can be imported."""

from __future__ import annotations

import importlib

from lazarus_pl.audit.doctor.probe.stage import Facts

_FEATURES = {
    "_is_avx2_supported": "AVX2",
    "_is_avx512_supported": "AVX-512",
    "_is_avx512_bf16_supported": "AVX-512-BF16",
    "_is_amx_tile_supported": "AMX",
}


def torch_build() -> Facts:
    """The build of torch, and the processor's features where torch tells them."""
    import torch

    facts: Facts = {
        "cuda_build": torch.version.cuda or "",
        "hip_build": torch.version.hip or "",
        "architectures": _architectures(),
        "mps": torch.backends.mps.is_available(),
    }
    # private in torch, so they may go
    known = {name: check for name in _FEATURES if (check := getattr(torch.cpu, name, None))}
    if known:
        facts["cpu_features"] = [_FEATURES[name] for name, check in known.items() if check()]
    return facts


def cuda() -> Facts:
    """The GPU that torch takes first and whether a kernel runs on it, or why there is none."""
    import torch

    from lazarus_pl.encoder.launch_kernel import launch_kernel

    if not torch.cuda.is_available():
        return {"cuda_error": _why_none() if torch.version.cuda else ""}
    properties = torch.cuda.get_device_properties(0)
    kernel_error = launch_kernel()
    return {
        "gpu": {
            "name": properties.name,
            "capability": [properties.major, properties.minor],
            "memory": properties.total_memory,
            "free_memory": None if kernel_error else torch.cuda.mem_get_info()[0],
            "kernel_error": kernel_error,
        }
    }


def torchvision() -> Facts:
    """Only whether it can be imported: timm needs it."""
    importlib.import_module("torchvision")
    return {}


def timm() -> Facts:
    """Only whether it can be imported."""
    importlib.import_module("timm")
    return {}


def _architectures() -> list[str]:
    """Also without a GPU, where the public function gives an empty list."""
    import torch

    try:
        return str(torch._C._cuda_getArchFlags() or "").split()
    except AttributeError:
        return list(torch.cuda.get_arch_list())


def _why_none() -> str:
    import torch

    try:
        torch.zeros(1, device="cuda")
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return ""
