"""Facts about a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lazarus_pl.audit.doctor.card import Card, guess_capability
from lazarus_pl.audit.doctor.gpu import Gpu


@dataclass(frozen=True)
class Machine:
    """Facts, not judgements; whatever could not be learnt has its default.

    Attributes:
        python: Version of Python.
        platform: Operating system and architecture.
        cpu: Name of the processor.
        cpu_features: Of what float arithmetic gains by: ``AVX2``, ``AVX-512``, ``AVX-512-BF16``,
            ``AMX``; None if unknown.
        cores: Cores that this process may use.
        physical_cores: Cores of the whole machine, without hyper-threading.
        busy_cores: Of the cores that this process may use, how many other programs kept busy.
        ram: Memory in bytes, of the container if this is one.
        free_ram: Memory that programs can still have, in bytes.
        disk_path: The folder that was asked about.
        free_disk: Free bytes on its disk.
        versions: Version by installed distribution.
        torch_wanted: What the installed torchvision requires of torch's version.
        unmet: Requirements of lazarus-pl that are not met, with the version that is there instead;
            empty where the package is missing.
        extras: Missing packages by extra of lazarus-pl.
        cards: NVIDIA cards, found without torch.
        visible_cards: The variable ``CUDA_VISIBLE_DEVICES``; None if it is not set.
        cuda_build: CUDA version that torch was built for; empty for a build without CUDA.
        hip_build: ROCm version that torch was built for.
        architectures: What torch's build has kernels for, such as ``sm_75``.
        mps: Whether torch can use an Apple GPU.
        cuda_error: Why torch sees no GPU although it was built for one.
        gpu: The GPU that torch takes first.
        agreement: By precision, the lowest cosine to float32 of the encoder's features; -1 if a
            value is not finite.
        decode_rate: Photos a second that one core decodes.
        decode_rate_all: Photos a second that all cores decode.
        encoder_rate: Photos a second that are encoded.
        encoder_engine: By which engine, as ``--engine auto`` takes it for many photos.
        encoder_device: On which device.
        encoder_precision: In which precision.
        packaged_weights: What is wrong with the packaged weights; empty if they are sound.
        cached_models: timm's models whose weights of the hub are on this machine.
        problems: Why a probe failed, by its name.
        skipped: By the name of a probe, the one that had to succeed before.
    """

    python: str = ""
    platform: str = ""
    cpu: str = ""
    cpu_features: tuple[str, ...] | None = None
    cores: int | None = None
    physical_cores: int | None = None
    busy_cores: float | None = None
    ram: int | None = None
    free_ram: int | None = None
    disk_path: str = ""
    free_disk: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    torch_wanted: str = ""
    unmet: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cards: tuple[Card, ...] = ()
    visible_cards: str | None = None
    cuda_build: str = ""
    hip_build: str = ""
    architectures: tuple[str, ...] = ()
    mps: bool = False
    cuda_error: str = ""
    gpu: Gpu | None = None
    agreement: Mapping[str, float] = field(default_factory=dict)
    decode_rate: float | None = None
    decode_rate_all: float | None = None
    encoder_rate: float | None = None
    encoder_engine: str = ""
    encoder_device: str = ""
    encoder_precision: str = ""
    packaged_weights: str | None = None
    cached_models: tuple[str, ...] | None = None
    problems: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_bf16(self) -> bool:
        """Whether the processor is known to compute in bf16 by itself."""
        return not {"AVX-512-BF16", "AMX"}.isdisjoint(self.cpu_features or ())

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Machine:
        """Builds a machine from attributes in JSON's types."""
        values: dict[str, Any] = _frozen(facts)
        if gpu := values.get("gpu"):
            values["gpu"] = Gpu(**gpu)
        values["cards"] = tuple(map(_card, values.get("cards", ())))
        return cls(**values)


def _card(facts: Mapping[str, Any]) -> Card:
    capability = facts.get("capability") or guess_capability(facts["name"])
    return Card(**{**facts, "capability": capability})


def _frozen(value: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as tuples, at any depth."""
    return {name: _inner(part) for name, part in value.items()}


def _inner(part: object) -> object:
    if isinstance(part, list):
        return tuple(_inner(each) for each in part)
    return _frozen(part) if isinstance(part, Mapping) else part
