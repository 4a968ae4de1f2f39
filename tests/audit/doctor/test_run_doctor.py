from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lazarus_pl.audit.doctor import run_doctor
from lazarus_pl.audit.doctor.diagnose import diagnose
from lazarus_pl.audit.doctor.machine import Machine
from lazarus_pl.audit.doctor.probe import probe_machine
from lazarus_pl.audit.doctor.probe.stage import STAGES
from lazarus_pl.audit.doctor.report import account, summary
from tests.audit.doctor.machines import CPU_ONLY, GTX_1650, P2000_ON_215
from tests.conftest import Lazarus

ROOT = Path(__file__).parents[3]

Pretend = Callable[[Machine], None]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Makes the doctor look at another machine."""
    return lambda machine: monkeypatch.setattr(run_doctor, "probe_machine", lambda path: machine)


@pytest.mark.parametrize(
    ("machine", "code", "status", "last"),
    [
        (CPU_ONLY, 0, "ok", "Lazarus works on this machine: all "),
        (GTX_1650, 0, "warning", "Lazarus works on this machine, with 1 warning: fp16."),
        (P2000_ON_215, 1, "fault", "1 fault to mend: kernel."),
    ],
    ids=["ok", "warning", "fault"],
)
def test_exit_code_table_and_json(
    machine: Machine, code: int, status: str, last: str, lazarus: Lazarus, on: Pretend
) -> None:
    on(machine)
    table = lazarus("doctor")
    assert table.code == code
    assert table.err == ""
    assert table.out.splitlines()[-1].startswith(last)
    assert "\x1b" not in table.out
    told = lazarus("doctor", "--json")
    assert told.code == code
    assert told.err == ""
    content = json.loads(told.out)
    assert list(content) == ["status", "findings", "machine"]
    assert content["status"] == status
    for finding in content["findings"]:
        assert set(finding) == {"name", "section", "value", "status", "advice"}
        assert finding["status"] in ("ok", "warning", "fault")
        assert finding["name"] in table.out
    assert Machine.from_facts(content["machine"]) == machine


@pytest.mark.parametrize("width", [72, 80, 120])
def test_lines_fit_and_commands_are_not_cut(width: int) -> None:
    lines = account(diagnose(P2000_ON_215), width).plain.splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    assert any("--force-reinstall" in line for line in lines)
    assert any('"torch==2.14.*"' in line for line in lines)
    assert any(line.startswith("  fault    kernel ") for line in lines)
    assert lines[-1] == summary(diagnose(P2000_ON_215))


def test_a_path_that_is_no_folder_is_a_mistake(lazarus: Lazarus, tmp_path: Path) -> None:
    done = lazarus("doctor", "--path", tmp_path / "none")
    assert done.code == 2
    assert "--path" in done.err


def broken_package(folder: Path, name: str, code: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code)
    return folder


@pytest.mark.slow
def test_this_machine(lazarus: Lazarus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # to convert the encoder for OpenVINO takes longer than all the rest
    monkeypatch.syspath_prepend(broken_package(tmp_path, "openvino", "raise ImportError"))
    done = lazarus("doctor", "--json", "--path", tmp_path)
    content = json.loads(done.out)
    machine = content["machine"]
    assert done.code == int(content["status"] == "fault")
    assert machine["disk_path"] == str(tmp_path)
    assert machine["packaged_weights"] == ""
    for fact in ("cores", "ram", "free_ram", "free_disk", "decode_rate", "decode_rate_all"):
        assert machine[fact] > 0
    if not machine["problems"]:
        assert machine["encoder_rate"] > 0
        assert all(cosine >= -1 for cosine in machine["agreement"].values())
        assert {"torch", "torchvision", "timm", "lightning"} <= set(machine["versions"])


def doctor_beside(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "lazarus_pl", "doctor", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


NMS = "raise RuntimeError('operator torchvision::nms does not exist')"
SEGMENTATION_FAULT = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


def test_a_torchvision_that_cannot_be_imported_is_survived(
    lazarus: Lazarus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(broken_package(tmp_path, "torchvision", NMS))
    # takes seconds, and is measured below
    quick = {name: stage for name, stage in STAGES.items() if name != "decode"}
    monkeypatch.setattr(probe_machine, "STAGES", quick)
    done = lazarus("doctor")
    assert done.code == 1
    assert done.err == ""
    assert "Traceback" not in done.out
    lines = done.out.splitlines()
    assert lines[-1].startswith("2 faults to mend: torchvision, timm")
    assert any(line.startswith("  fault    torchvision ") for line in lines)
    assert any(line.startswith("  ok       torch ") for line in lines)
    assert "operator torchvision::nms does not exist" in " ".join(done.out.split())
    assert "mend torchvision first" in done.out


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_torch_that_ends_the_process_is_survived(tmp_path: Path) -> None:
    done = doctor_beside(broken_package(tmp_path, "torch", SEGMENTATION_FAULT), "--json")
    assert done.returncode == 1
    assert done.stderr == ""
    content = json.loads(done.stdout)
    faults = {f["name"]: f for f in content["findings"] if f["status"] == "fault"}
    assert list(faults) == ["torch"]
    assert "SIGSEGV" in faults["torch"]["value"]
    # all that needs no torch was still looked at
    assert content["machine"]["decode_rate"] > 0
    assert content["machine"]["packaged_weights"] == ""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('libcudart.so.12: cannot open shared object file')", "libcudart"),
        (SEGMENTATION_FAULT, "SIGSEGV"),
        ("import os; os._exit(7)", "code 7"),
        ("raise SystemExit('no')", "SystemExit: no"),
    ],
    ids=["ImportError", "segmentation fault", "exit", "SystemExit"],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_after_a_torch_that_cannot_be_imported_the_probes_go_on(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(broken_package(tmp_path, "torch", code))
    few = {name: STAGES[name] for name in ("torch", "timm", "packaged weights", "cards")}
    monkeypatch.setattr(probe_machine, "STAGES", few)
    machine = probe_machine.probe_machine(tmp_path)
    assert list(machine.problems) == ["torch"]
    assert said in machine.problems["torch"]
    assert machine.skipped == {"timm": "torch"}
    assert machine.packaged_weights == ""
