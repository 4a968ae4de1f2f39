from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from lazarus_pl.keep_freed_memory import keep_freed_memory

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
# as large as what lies between two layers of a head, several at once
_STEPS = """
import resource, torch
from lazarus_pl.keep_freed_memory import keep_freed_memory
torch.set_num_threads(1)
keep_freed_memory()
def step():
    return [torch.ones(2_000_000) for _ in range(8)]
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="of glibc",
)
def test_a_step_is_not_given_the_same_pages_again() -> None:
    """Where it is given back, one step takes 15,600 new pages; luck alone often keeps it."""
    assert int(subprocess.check_output([sys.executable, "-c", _STEPS], text=True)) < 1000


@pytest.mark.parametrize(("limit", "both"), [(32 << 20, True), (1 << 20, False)])
def test_older_glibc_takes_both_or_stays_as_it_was(
    limit: int, both: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 2.34 it refuses more than 32 MB; a trim threshold alone makes it slower."""
    taken: dict[int, int] = {}

    def mallopt(option: int, value: int) -> int:
        if option == _MMAP_THRESHOLD and value > limit:
            return 0
        taken[option] = value
        return 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    keep_freed_memory()
    assert set(taken) == ({_MMAP_THRESHOLD, _TRIM_THRESHOLD} if both else set())
