from __future__ import annotations

import os
from pathlib import Path

import pytest

from lazarus_pl import usable_cores


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a container's share of time, on a machine with 64 cores of which 4 are ours."""
    monkeypatch.setattr(usable_cores, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5, 6, 9, 10}, raising=False)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", 4), ("200000 100000", 2), ("150000 100000", 2), ("800000 100000", 4)],
    ids=["no quota", "two cores", "one and a half", "more than are allowed"],
)
def test_a_containers_share_of_time(text: str, cores: int, quota: Path) -> None:
    quota.write_text(f"{text}\n")
    assert usable_cores.usable_cores() == cores


@pytest.mark.usefixtures("quota")
def test_without_a_quota_it_is_the_cores_that_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores.allowed_cores() == {5, 6, 9, 10}
    assert usable_cores.usable_cores() == 4
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores.usable_cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores.usable_cores() == 1
