from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from importlib import metadata
from pathlib import Path

import huggingface_hub
import psutil
import pytest

from lazarus_pl import usable_cores, usable_memory
from lazarus_pl.audit.doctor.machine import Machine
from lazarus_pl.audit.doctor.probe import cards, packages, probe_machine, speed, system, weights
from lazarus_pl.audit.doctor.probe.stage import STAGES
from lazarus_pl.encoder.weights import WeightsFile
from lazarus_pl.usable_memory import UsableMemory

SMI = "Quadro P2000, 580.95.05, 4096, 6.1\nTesla V100, 580.95.05, [N/A], 7.0\n"
OLD_SMI = "Quadro P2000, 418.10, 4096\n"


def test_the_command_imports_neither_torch_nor_timm() -> None:
    code = (
        "import sys, lazarus_pl.audit.doctor.run_doctor; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_needs_come_before_what_needs_them() -> None:
    names = list(STAGES)
    for name, stage in STAGES.items():
        assert all(names.index(need) < names.index(name) for need in stage.needs)


def test_what_nvidia_smi_says() -> None:
    first, second = cards.parse_smi(SMI)
    assert first == {
        "name": "Quadro P2000",
        "driver": "580.95.05",
        "memory": 4 << 30,
        "capability": [6, 1],
    }
    assert second["memory"] is None
    machine = Machine.from_facts({"cards": cards.parse_smi(OLD_SMI)})
    assert machine.cards[0].capability == (6, 1)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A system without NVIDIA's driver, and an empty folder that is its search path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("_WSL", "_DRIVER", "_PCI"):
        monkeypatch.setattr(cards, name, tmp_path / name)
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("echo 'Quadro P2000, 580.95, 4096, 6.1'", ["Quadro P2000"]),
        (
            'case "$1" in *compute_cap*) echo Field \\"compute_cap\\" is not valid; exit 2;; '
            "*) echo 'Quadro P2000, 418.10, 4096';; esac",
            ["Quadro P2000"],
        ),
        ("echo NVIDIA-SMI has failed; exit 9", []),
        ("echo No devices were found", []),
    ],
    ids=["new driver", "old driver", "no driver", "no card"],
)
def test_asking_the_driver(script: str, names: list[str], bare: Path) -> None:
    program = bare / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert [card["name"] for card in cards.cards()["cards"]] == names


def test_cards_that_no_driver_answers_for(bare: Path) -> None:
    assert cards.cards()["cards"] == []
    for name, kind in (("gpu", "0x030200"), ("sound", "0x040300")):
        (bare / "_PCI" / name).mkdir(parents=True)
        for file, text in (("vendor", "0x10de"), ("class", kind), ("device", "0x1cb6")):
            (bare / "_PCI" / name / file).write_text(f"{text}\n")
    assert cards.cards()["cards"] == [{"name": "NVIDIA card (PCI device 0x1cb6)"}]
    (bare / "_DRIVER" / "gpus" / "0").mkdir(parents=True)
    (bare / "_DRIVER" / "gpus" / "0" / "information").write_text("Model: \t Quadro P2000\nIRQ: 1\n")
    assert cards.cards()["cards"] == [{"name": "Quadro P2000"}]


def test_the_processors_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: A Xeon\nflags\t\t: fpu avx2 amx_tile\n\nmodel name\t: other\n")
    monkeypatch.setattr(system, "_CPU_INFO", info)
    facts = system.python()
    assert facts["cpu"] == "A Xeon"
    assert facts["cpu_features"] == ["AVX2", "AMX"]
    monkeypatch.setattr(system, "_CPU_INFO", tmp_path / "none")
    assert "cpu_features" not in system.python()


@pytest.mark.parametrize(
    ("allowed", "usable", "busy"),
    [
        (set(range(8)), 8, 4.5),
        ({0, 1}, 2, 0.5),
        ({4, 5}, 2, 2.0),
        (set(range(8)), 2, 0.0),
        (set(range(8)), 5, 1.5),
        ({62, 63}, 2, 0.0),
    ],
    ids=["all", "idle ones", "busy ones", "a share", "a large share", "not told of"],
)
def test_cores_in_use_are_those_that_this_process_would_have(
    allowed: set[int], usable: int, busy: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = [50.0, 0.0, 0.0, 0.0, 100.0, 100.0, 100.0, 100.0]
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval, percpu: used)
    monkeypatch.setattr(usable_cores, "allowed_cores", lambda: allowed)
    monkeypatch.setattr(usable_cores, "usable_cores", lambda: usable)
    facts = system.cores()
    assert (facts["cores"], facts["busy_cores"]) == (usable, busy)


def test_memory_is_the_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usable_memory, "usable_memory", lambda: UsableMemory(2 << 30, 1 << 30))
    assert system.memory() == {"ram": 2 << 30, "free_ram": 1 << 30}


def test_decoding_ends_by_the_clock_on_a_machine_of_many_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed, "_DECODING", 0.05)
    monkeypatch.setattr(os, "cpu_count", lambda: 256)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    speed.decode()
    started = time.perf_counter()
    facts = speed.decode()
    # photos that were under way when the time was over are waited for
    assert time.perf_counter() - started < 3.0
    assert facts["decode_rate"] > 0
    assert facts["decode_rate_all"] > 0


def test_requirements_and_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    requires = [
        "numpy>=1.26",
        "rich>=999",
        "no-such-package>=1",
        "windows-only; sys_platform == 'beos'",
        "pytest>=1; extra == 'test'",
        "lazarus-pl[parquet]; extra == 'test'",
        "no-such-reader; extra == 'parquet'",
    ]
    monkeypatch.setattr(packages, "_own_extras", lambda: ["parquet", "test"])
    monkeypatch.setattr(metadata, "requires", lambda name: requires * (name == "lazarus-pl"))
    facts = packages.packages()
    assert facts["unmet"] == {"rich>=999": metadata.version("rich"), "no-such-package>=1": ""}
    assert facts["extras"] == {"parquet": ["no-such-reader"], "test": []}


def test_a_checkout_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    for function in ("version", "metadata", "requires"):
        monkeypatch.setattr(metadata, function, gone)
    facts = packages.packages()
    assert list(facts["versions"]) == ["lazarus-pl"]
    assert (facts["unmet"], facts["extras"], facts["torch_wanted"]) == ({}, {}, "")


def test_damaged_weights_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.packaged() == {"packaged_weights": ""}
    sound = weights.find_weights(weights.EncoderSpec())
    other = WeightsFile("packaged", sound.path, "0" * 64)
    monkeypatch.setattr(weights, "find_weights", lambda spec: other)
    assert "not the file that was installed" in weights.packaged()["packaged_weights"]


def test_models_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = partial(huggingface_hub.scan_cache_dir, tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", scan)
    assert weights.hub() == {"cached_models": []}
    for repo, file in (
        ("timm--efficientnet_b0.ra_in1k", "model.safetensors"),
        ("timm--half_fetched", "config.json"),
        ("other--model", "model.safetensors"),
    ):
        snapshot = tmp_path / "cache" / f"models--{repo}" / "snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / file).write_bytes(b"x")
    assert weights.hub() == {"cached_models": ["efficientnet_b0.ra_in1k"]}


def test_a_probe_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def late(*args: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("python", 1, output=b'{"stage": "python", "facts": {}}\n{"')

    monkeypatch.setattr(probe_machine, "STAGES", {"python": None, "torch": None})
    monkeypatch.setattr(subprocess, "run", late)
    machine = probe_machine.probe_machine(tmp_path)
    assert list(machine.problems) == ["torch"]
    assert "no answer" in machine.problems["torch"]


def test_the_self_check_of_a_gpu_compares_fp16_and_from_ampere_on_bf16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from lazarus_pl.audit.doctor.probe.precision import precision
    from lazarus_pl.encoder import launch_kernel, torch_engine

    asked: list[tuple[str, str]] = []

    def agreement(encoder: object, device: torch.device, name: str) -> float:
        asked.append((device.type, name))
        return 1.0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(launch_kernel, "launch_kernel", lambda: "")
    monkeypatch.setattr(torch_engine, "agreement", agreement)
    for capability, names in (((7, 5), ["16"]), ((8, 6), ["16", "bf16"])):
        asked.clear()
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device, found=capability: found
        )
        assert list(precision()["agreement"]) == names
        assert asked == [("cuda", name) for name in names]
