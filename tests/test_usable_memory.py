from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from lazarus_pl import usable_memory
from lazarus_pl.usable_memory import UsableMemory

GIB = 1 << 30

VERSION_1 = {
    "limit": "memory/memory.limit_in_bytes",
    "used": "memory/memory.usage_in_bytes",
    "stat": "memory/memory.stat",
}
VERSION_2 = {"limit": "memory.max", "used": "memory.current", "stat": "memory.stat"}


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a container's limits, on a machine with 60 of 64 GiB free."""
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(usable_memory, "_CGROUP", tmp_path)
    machine = SimpleNamespace(total=64 * GIB, available=60 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    return tmp_path


@pytest.mark.parametrize("names", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [
        (2 * GIB, GIB, UsableMemory(2 * GIB, GIB)),
        # as version 1 writes that there is none
        (2**63 - 4096, GIB, UsableMemory(64 * GIB, 60 * GIB)),
        (62 * GIB, 0, UsableMemory(62 * GIB, 60 * GIB)),
        (GIB, GIB + 4096, UsableMemory(GIB, 0)),
    ],
    ids=["less", "no limit", "more than is free", "used up"],
)
def test_the_smaller_of_the_machines_and_the_containers(
    names: dict[str, str], limit: int, used: int, expected: UsableMemory, cgroup: Path
) -> None:
    (cgroup / names["limit"]).write_text(f"{limit}\n")
    (cgroup / names["used"]).write_text(f"{used}\n")
    assert usable_memory.usable_memory() == expected


@pytest.mark.parametrize("names", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_files_that_linux_holds_in_memory_are_free(names: dict[str, str], cgroup: Path) -> None:
    (cgroup / names["limit"]).write_text(f"{4 * GIB}\n")
    (cgroup / names["used"]).write_text(f"{4 * GIB}\n")
    (cgroup / names["stat"]).write_text(
        f"anon {GIB}\nfile {3 * GIB}\ninactive_file {2 * GIB}\nactive_file {GIB}\n"
    )
    assert usable_memory.usable_memory() == UsableMemory(4 * GIB, 3 * GIB)


def test_without_a_limit_it_is_the_machines(cgroup: Path) -> None:
    assert usable_memory.usable_memory() == UsableMemory(64 * GIB, 60 * GIB)
    (cgroup / "memory.max").write_text("max\n")
    (cgroup / "memory.current").write_text(f"{GIB}\n")
    assert usable_memory.usable_memory() == UsableMemory(64 * GIB, 60 * GIB)
