"""Machines that are not at hand."""

from __future__ import annotations

from dataclasses import replace

from lazarus_pl.audit.doctor.card import Card
from lazarus_pl.audit.doctor.gpu import Gpu
from lazarus_pl.audit.doctor.machine import Machine

GIB = 1 << 30
CUDA_132 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
CUDA_126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
NO_IMAGE = "CUDA error: no kernel image is available for execution on the device"

CPU_ONLY = Machine(
    python="3.12.3",
    platform="Linux x86_64",
    cpu="Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz",
    cpu_features=("AVX2",),
    cores=12,
    physical_cores=6,
    busy_cores=0.2,
    ram=16 * GIB,
    free_ram=9 * GIB,
    disk_path=".",
    free_disk=80 * GIB,
    versions={
        "lazarus-pl": "0.1.0",
        "torch": "2.15.0",
        "torchvision": "0.30.0",
        "timm": "1.0.31",
        "lightning": "2.6.6",
        "pytorch-lightning": "2.6.6",
    },
    torch_wanted="==2.15.0",
    extras={"parquet": (), "test": ("pytest", "ruff")},
    decode_rate=900.0,
    decode_rate_all=4100.0,
    encoder_rate=61.0,
    encoder_engine="openvino",
    encoder_device="cpu",
    encoder_precision="32",
    packaged_weights="",
    cached_models=(),
)

_ON_GPU = replace(
    CPU_ONLY,
    cuda_build="13.2",
    architectures=CUDA_132,
    encoder_rate=800.0,
    encoder_device="cuda",
    encoder_precision="16",
)

_P2000 = Card("Quadro P2000", (6, 1), 4 * GIB, "580.95.05")
P2000_ON_215 = replace(
    CPU_ONLY,
    cards=(_P2000,),
    cuda_build="13.2",
    architectures=CUDA_132,
    gpu=Gpu("Quadro P2000", (6, 1), 4 * GIB, None, NO_IMAGE),
)
P2000_ON_215_UNSEEN = replace(
    P2000_ON_215, gpu=None, cuda_error="The NVIDIA driver on your system is too old"
)
P2000_ON_214 = replace(
    CPU_ONLY,
    cards=(_P2000,),
    versions={**CPU_ONLY.versions, "torch": "2.14.1", "torchvision": "0.29.1"},
    torch_wanted="==2.14.1",
    cuda_build="12.6",
    architectures=CUDA_126,
    gpu=Gpu("Quadro P2000", (6, 1), 4 * GIB, 3 * GIB),
    agreement={"16": 0.99999},
    encoder_rate=310.0,
    encoder_device="cuda",
)
GTX_1650 = replace(
    _ON_GPU,
    cards=(Card("NVIDIA GeForce GTX 1650", (7, 5), 4 * GIB, "595.10"),),
    gpu=Gpu("NVIDIA GeForce GTX 1650", (7, 5), int(3.8 * GIB), 3 * GIB),
    agreement={"16": -1.0},
    encoder_precision="32",
)
RTX_3050 = replace(
    _ON_GPU,
    cards=(Card("NVIDIA GeForce RTX 3050 Laptop GPU", (8, 6), 4 * GIB, "595.10"),),
    gpu=Gpu("NVIDIA GeForce RTX 3050 Laptop GPU", (8, 6), int(3.8 * GIB), 3 * GIB),
    agreement={"16": 0.99998, "bf16": 0.9985},
)
CPU_TORCH_BESIDE_A_CARD = replace(CPU_ONLY, cards=RTX_3050.cards)
TORCHVISION_DOES_NOT_MATCH = replace(
    CPU_ONLY,
    versions={**CPU_ONLY.versions, "torchvision": "0.24.0"},
    torch_wanted="==2.9.0",
    encoder_rate=None,
    problems={
        "torchvision": "RuntimeError: operator torchvision::nms does not exist",
        "timm": "RuntimeError: operator torchvision::nms does not exist",
    },
    skipped={"encoder": "timm", "precision": "timm"},
)
