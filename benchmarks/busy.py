"""Extraction on an idle machine and beside another process, with threads that spin or sleep.

    python benchmarks/busy.py --data PHOTOS

Threads of OpenMP spin for a while when they wait for each other. Beside another process that takes
cores, they spin on time that their partners need. ``lazarus`` sets ``OMP_WAIT_POLICY=PASSIVE``:
threads that wait sleep. Idle and busy, with and without, take turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from beside import beside
from report import report

from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves

_OTHER = """
import torch
model = torch.nn.Sequential(*[torch.nn.Conv2d(64, 64, 3, padding=1) for _ in range(8)])
with torch.inference_mode():
    while True:
        model(torch.zeros(8, 64, 56, 56))
"""


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="class folders; drawn leaves by default")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = options.data or ProceduralLeaves(
            {"healthy": 20, "rust": 20}, photos_per_leaf=(4, 4)
        ).write(work / "drawn")
        seconds: dict[tuple[str, str], list[float]] = {}
        for number in range(options.repeats):
            for machine in ("idle", "busy"):
                for policy in ("ACTIVE", "PASSIVE"):
                    with beside(machine, _OTHER):
                        taken = _extract(data, work / f"{machine}{policy}{number}", policy)
                    seconds.setdefault((machine, policy), []).append(taken)
    best = {case: min(times) for case, times in seconds.items()}
    report(
        "busy",
        [
            {
                "machine": machine,
                "threads": {"ACTIVE": "spin", "PASSIVE": "sleep (lazarus)"}[policy],
                "seconds": best[machine, policy],
                "ratio_to_spinning": best[machine, policy] / best[machine, "ACTIVE"],
            }
            for machine, policy in best
        ],
        {"repeats": options.repeats, "taken": "the best of the repeats"},
    )


def _extract(data: Path, out: Path, policy: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "lazarus_pl", "extract", "--data", str(data), "--out", str(out)],
        env={**os.environ, "OMP_WAIT_POLICY": policy},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
