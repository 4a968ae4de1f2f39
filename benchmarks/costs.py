"""What the audit estimates, against what extraction and the nine runs really take.

    python benchmarks/costs.py --data PHOTOS

Estimate first, then ``lazarus extract`` and ``lazarus grid`` as they are, each in a process of its
own, one after the other on the same machine. The audit reckons with all epochs that the configs
allow; the table says how many the runs took.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import report

from lazarus_pl.shipped_config import shipped_config


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="class folders")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        _lazarus("audit", "--data", options.data, "--out", work / "audit")
        found = json.loads((work / "audit" / "audit.json").read_text(encoding="utf-8"))
        estimates = {cost["stage"]: cost for cost in found["costs"]}
        real = {
            "extraction": _lazarus("extract", "--data", options.data, "--out", work / "cache"),
            "nine heads": _lazarus(
                *("grid", "-c", shipped_config("grids/heads_3x3.yaml").resolve()),
                *("--cache", work / "cache", "--out", work / "run"),
            ),
        }
        disk = {
            "extraction": _megabytes(work / "cache" / "jobs"),
            "nine heads": _megabytes(work / "run" / "runs"),
        }
        with (work / "run" / "leaderboard.csv").open(encoding="utf-8") as file:
            epochs = sum(int(row["epochs"]) for row in csv.DictReader(file))
    report(
        "costs",
        [
            {
                "stage": stage,
                "estimated_seconds": estimates[stage]["seconds"],
                "real_seconds": seconds,
                "error": estimates[stage]["seconds"] / seconds - 1,
                "estimated_disk_mb": estimates[stage]["disk_mb"],
                "real_disk_mb": disk[stage],
            }
            for stage, seconds in real.items()
        ],
        {"photos": found["classes"]["total"], "epochs_of_the_nine_runs": epochs},
    )


def _lazarus(*words: str | Path) -> float:
    """Seconds of a verb in a process of its own."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lazarus_pl", *map(str, words)], check=True)
    return time.perf_counter() - started


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
