from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# as large as what lies between two layers of a head, several at once
_STEPS = """
import resource, sys, torch
from lazarus_pl.keep_freed_memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
def step():
    return [torch.ones(2_000_000) for _ in range(8)]
step(), step()
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
    faults = {
        way: int(subprocess.check_output([sys.executable, "-c", _STEPS, way], text=True))
        for way in ("kept", "as usual")
    }
    assert faults["kept"] < faults["as usual"] / 10
