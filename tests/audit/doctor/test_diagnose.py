from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lazarus_pl.audit.doctor.card import Card, guess_capability
from lazarus_pl.audit.doctor.check_result import CheckResult, worst
from lazarus_pl.audit.doctor.checks.packages import LIGHTNING, TORCH
from lazarus_pl.audit.doctor.checks.which_torch import covers, oldest_driver
from lazarus_pl.audit.doctor.diagnose import diagnose
from lazarus_pl.audit.doctor.machine import Machine
from tests.audit.doctor import machines
from tests.audit.doctor.machines import CPU_ONLY, CUDA_126, CUDA_132, GIB, RTX_3050

ROOT = Path(__file__).parents[3]
EVERY_MACHINE = {name: value for name, value in vars(machines).items() if type(value) is Machine}


def found(machine: Machine) -> dict[str, CheckResult]:
    return {result.name: result for result in diagnose(machine)}


def not_ok(machine: Machine) -> list[tuple[str, str]]:
    return [(f.name, f.status) for f in diagnose(machine) if f.status != "ok"]


@pytest.mark.parametrize("machine", EVERY_MACHINE.values(), ids=EVERY_MACHINE)
def test_every_line_that_is_not_ok_has_one_sentence_of_advice(machine: Machine) -> None:
    results = diagnose(machine)
    assert len({result.name for result in results}) == len(results)
    for result in results:
        assert result.value
        assert bool(result.advice) or result.status == "ok"
        assert "\n" not in result.advice
        assert not result.advice.endswith(".")


@pytest.mark.parametrize("machine", [CPU_ONLY, RTX_3050], ids=["CPU only", "RTX 3050"])
def test_sound_machines_are_ok(machine: Machine) -> None:
    assert not_ok(machine) == []


def test_a_machine_without_a_card_is_told_of_none_and_no_more() -> None:
    lines = found(CPU_ONLY)
    assert "none" in lines["card"].value
    assert {"driver", "kernel", "fp16"}.isdisjoint(lines)
    assert "float32 is faster" in lines["bf16"].value


@pytest.mark.parametrize(
    "changes",
    [
        {"cpu_features": ("AVX-512-BF16", "AMX"), "skipped": {"precision": "timm"}},
        {"problems": {"precision": "RuntimeError"}},
        {"cpu_features": None, "problems": {"precision": "RuntimeError"}},
        {"cpu_features": ("AVX2", "AVX-512-BF16")},
        {"cpu_features": ("AVX2", "AMX")},
    ],
    ids=["skipped", "failed", "failed, features unknown", "AVX-512-BF16", "AMX"],
)
def test_bf16_that_was_not_measured_is_not_said_to_be_slow(changes: dict[str, Any]) -> None:
    line = found(replace(CPU_ONLY, **changes))["bf16"]
    assert (line.value, line.status) == ("not measured", "ok")


def test_rtx_3050_is_named_with_what_it_can() -> None:
    lines = found(RTX_3050)
    assert "RTX 3050" in lines["card"].value
    assert "8.6" in lines["card"].value
    assert lines["driver"].value == "595.10"
    assert lines["kernel"].value == "runs"
    assert "0.9985" in lines["bf16"].value


@pytest.mark.parametrize(
    "machine",
    [machines.P2000_ON_215, machines.P2000_ON_215_UNSEEN],
    ids=["kernel fails", "torch sees no card"],
)
def test_p2000_on_torch_215_is_told_which_torch_still_runs_on_it(machine: Machine) -> None:
    assert not_ok(machine) == [("kernel", "fault")]
    advice = found(machine)["kernel"].advice
    assert "sm_61" in advice
    assert '"torch==2.14.*" torchvision' in advice
    assert "cu126" in advice
    assert "R580 is the last branch" in found(machine)["driver"].value


def test_p2000_on_cuda_126_runs_sm_60_kernels_and_is_warned_of_fp16_alone() -> None:
    assert not_ok(machines.P2000_ON_214) == [("fp16", "warning")]
    assert "32-true" in found(machines.P2000_ON_214)["fp16"].advice


def test_gtx_1650_is_told_by_its_self_check() -> None:
    assert not_ok(machines.GTX_1650) == [("fp16", "warning")]
    line = found(machines.GTX_1650)["fp16"]
    assert "not finite" in line.value
    assert "GTX 16xx" in line.advice
    assert "32-true" in line.advice


def test_the_self_check_decides_and_not_the_name() -> None:
    sound = replace(machines.GTX_1650, agreement={"16": 0.9999})
    assert not_ok(sound) == []
    unsound = replace(RTX_3050, agreement={"16": 0.42, "bf16": 0.9985})
    assert not_ok(unsound) == [("fp16", "warning")]
    assert "0.4200" in found(unsound)["fp16"].value
    assert "GTX 16xx" not in found(unsound)["fp16"].advice


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (RTX_3050.cards[0], "pip install --force-reinstall torch torchvision from the CUDA index"),
        (Card("Quadro P2000", (6, 1), 4 * GIB, "580.95"), '"torch==2.14.*"'),
        (Card("GeForce GT 710", (3, 5), 2 * GIB, "470.2"), "use the CPU"),
    ],
    ids=["Ampere", "Pascal", "Kepler"],
)
def test_a_torch_for_cpus_beside_a_card_is_told(card: Card, said: str) -> None:
    line = found(replace(CPU_ONLY, cards=(card,)))["torch build"]
    assert line.status == "warning"
    assert line.value == "for CPUs only"
    assert said in line.advice


def test_torchvision_that_does_not_match_is_told_and_timm_points_to_it() -> None:
    machine = machines.TORCHVISION_DOES_NOT_MATCH
    assert not_ok(machine) == [
        ("torchvision", "fault"),
        ("timm", "fault"),
        ("encoding", "warning"),
    ]
    lines = found(machine)
    assert "does not match torch 2.15.0 (it wants torch ==2.9.0)" in lines["torchvision"].advice
    assert lines["timm"].advice.startswith("mend torchvision first")


def test_torchvision_for_another_torch_that_still_loads_is_a_warning() -> None:
    machine = replace(CPU_ONLY, torch_wanted="==2.14.1")
    assert not_ok(machine) == [("torchvision", "warning")]
    same = replace(machine, versions={**CPU_ONLY.versions, "torch": "2.14.1+cu126"})
    assert not_ok(same) == []


@pytest.mark.parametrize(
    ("versions", "name", "said"),
    [
        ({"lightning": "2.6.3"}, "lightning", "steals credentials"),
        ({"pytorch-lightning": "2.6.2"}, "lightning", "steals credentials"),
        ({"lightning": "2.6.1"}, "lightning", LIGHTNING),
        ({"lightning": "2.7.0"}, "lightning", LIGHTNING),
        ({"lightning": ""}, "lightning", "pip install"),
        ({"torch": "2.5.1"}, "torch", TORCH),
    ],
)
def test_versions_that_must_not_be(versions: dict[str, str], name: str, said: str) -> None:
    machine = replace(CPU_ONLY, versions={**CPU_ONLY.versions, **versions}, torch_wanted="")
    assert not_ok(machine) == [(name, "fault")]
    assert said in found(machine)[name].advice


@pytest.mark.parametrize("torch", ["2.6.0a0+ecf3bae40a.nv25.01", "2.16.0.dev20261101", "unknown"])
def test_versions_between_releases_are_no_faults(torch: str) -> None:
    machine = replace(CPU_ONLY, versions={**CPU_ONLY.versions, "torch": torch}, torch_wanted="")
    assert not_ok(machine) == []


def test_the_ranges_are_those_of_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"torch{TORCH}"' in text
    assert f'"lightning{LIGHTNING}"' in text


def test_a_torch_that_cannot_be_imported_is_one_fault() -> None:
    machine = replace(
        CPU_ONLY,
        cards=RTX_3050.cards,
        encoder_rate=None,
        problems={"torch": "OSError: libcudnn.so.9: cannot open shared object file"},
        skipped=dict.fromkeys(("cuda", "torchvision", "timm", "encoder", "precision"), "torch"),
    )
    faults = [f for f in diagnose(machine) if f.status == "fault"]
    assert [fault.name for fault in faults] == ["torch"]
    assert "libcudnn" in faults[0].value
    assert "pip install --force-reinstall torch torchvision" in faults[0].advice


def test_packages_that_are_not_there() -> None:
    versions = {k: v for k, v in CPU_ONLY.versions.items() if "torch" not in k}
    missing = replace(
        CPU_ONLY,
        versions=versions,
        problems={"torch": "ModuleNotFoundError: No module named 'torch'"},
    )
    assert found(missing)["torch"].value == "not installed"
    unmet = replace(CPU_ONLY, unmet={"captum>=0.7": "", "rich>=13": "12.0"})
    assert found(unmet)["requirements"].status == "fault"
    assert found(unmet)["requirements"].advice == 'pip install "captum>=0.7" "rich>=13"'
    assert found(replace(unmet, unmet={"rich>=13": "12.0"}))["requirements"].status == "warning"


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"visible_cards": ""}, "warning", "CUDA_VISIBLE_DEVICES"),
        ({"visible_cards": "1"}, "warning", "CUDA_VISIBLE_DEVICES is '1'"),
        ({"cards": (Card("RTX 3050", (8, 6)),)}, "warning", "driver first"),
        ({"cards": (Card("RTX 3050", (8, 6), None, "470.5"),)}, "fault", "R580"),
        ({"cuda_error": "unknown error"}, "fault", "restart"),
    ],
    ids=["hidden", "no such card", "no driver", "old driver", "unknown"],
)
def test_a_card_that_torch_does_not_see(changes: dict[str, object], status: str, said: str) -> None:
    line = found(replace(RTX_3050, gpu=None, agreement={}, **changes))["kernel"]
    assert (line.status, "torch sees no GPU" in line.value) == (status, True)
    assert said in line.advice


def test_a_kernel_that_fails_on_a_card_of_the_build_is_no_matter_of_torch() -> None:
    assert RTX_3050.gpu
    gpu = replace(RTX_3050.gpu, kernel_error="CUDA error: unspecified launch failure")
    line = found(replace(RTX_3050, gpu=gpu))["kernel"]
    assert line.status == "fault"
    assert "restart" in line.advice


def test_a_driver_that_breaks_torch_is_a_fault() -> None:
    machine = replace(RTX_3050, gpu=None, problems={"cuda": "the process was ended by SIGSEGV"})
    assert found(machine)["kernel"].status == "fault"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"free_ram": GIB}, "memory"),
        ({"free_disk": GIB}, "disk"),
        ({"busy_cores": 6.0}, "cores"),
        ({"encoder_rate": 1.5}, "encoding"),
        ({"problems": {"memory": "PermissionError"}}, "memory"),
    ],
)
def test_what_is_scarce_is_a_warning(changes: dict[str, object], name: str) -> None:
    machine = replace(CPU_ONLY, **changes)  # type: ignore[arg-type]
    if "problems" in changes:
        machine = replace(machine, free_ram=None)
    assert not_ok(machine) == [(name, "warning")]


def test_physical_cores_of_a_machine_that_gives_fewer_are_not_told() -> None:
    assert found(CPU_ONLY)["cores"].value == "12, 6 physical"
    assert found(replace(CPU_ONLY, cores=2, physical_cores=32))["cores"].value == "2"


@pytest.mark.parametrize("changes", [{"memory": 2 * GIB}, {"free_memory": GIB // 2}])
def test_little_gpu_memory_is_a_warning(changes: dict[str, int]) -> None:
    assert RTX_3050.gpu
    machine = replace(RTX_3050, gpu=replace(RTX_3050.gpu, **changes))
    assert not_ok(machine) == [("card", "warning")]


def test_weights() -> None:
    damaged = replace(CPU_ONLY, packaged_weights="'w.pth' is not the file that was installed")
    assert not_ok(damaged) == [("tf_efficientnet_lite0", "fault")]
    cached = replace(CPU_ONLY, cached_models=("efficientnet_b0.ra_in1k", "resnet18.a1_in1k"))
    assert found(cached)["efficientnet_b0"].value == "here"
    assert found(cached)["other models"].value == "resnet18.a1_in1k"


def test_extras_are_told_and_no_mistake() -> None:
    lines = found(CPU_ONLY)
    assert lines["parquet"].value == "installed"
    assert lines["test"].value == "without pytest, ruff"
    assert 'pip install "lazarus-pl[test]"' in lines["test"].advice


def test_other_gpus() -> None:
    assert "--device mps" in found(replace(CPU_ONLY, mps=True))["card"].value
    rocm = replace(RTX_3050, cards=(), cuda_build="", hip_build="7.1", architectures=("gfx1100",))
    assert not_ok(rocm) == []
    assert "ROCm 7.1" in found(rocm)["torch build"].value


def test_nothing_known_is_no_crash() -> None:
    assert worst(diagnose(Machine())) == "fault"


@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        (CUDA_126, (6, 1), True),
        (CUDA_132, (6, 1), False),
        (CUDA_132, (8, 9), True),
        (CUDA_132, (12, 0), True),
        (("sm_86",), (8, 0), False),
        (("compute_70",), (7, 5), True),
        (("compute_70",), (6, 1), False),
        (("sm_90a",), (9, 0), True),
        (("sm_120a",), (12, 1), False),
        (("gfx906",), (9, 0), False),
        ((), (7, 5), False),
    ],
)
def test_which_kernels_run_on_which_card(
    architectures: tuple[str, ...], capability: tuple[int, int], runs: bool
) -> None:
    assert covers(architectures, capability) is runs


def test_drivers_and_names() -> None:
    assert oldest_driver("13.2") == 580
    assert oldest_driver("") == 0
    for name in ("Quadro P2000", "NVIDIA GeForce GTX 1060 6GB", "GeForce MX150"):
        assert guess_capability(name) == (6, 1)
    for name in ("GeForce RTX 3050", "Quadro GP100", "GeForce GTX 1650", "Tesla P100"):
        assert guess_capability(name) is None
