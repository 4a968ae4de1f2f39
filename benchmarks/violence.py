"""Kills runs at seeded random moments, resumes them, and compares with a run left alone.

    python benchmarks/violence.py --out WORK

Draws small leaves, runs ``lazarus run`` on them once undisturbed, then again and again with
``kill -9`` after a random time, in whatever stage that falls; the same command goes on until the
chain ends, and a new folder begins. Every chain that ends must have the manifest, the features and
the heads of the undisturbed one to the last bit, and no lock that is held.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.pipeline.run.stage_record import StageRecord

STAGES = (
    *("audit", "extract", "findings", "grid", "patches", "views", "views_head", "finetune"),
    *("choose", "refit", "test", "report"),
)
# seconds until a kill
SOONEST, LATEST = 1.0, 25.0
CONFIG = {
    "encoder": {"image_size": 64},
    "grid": {"overrides": {"trainer.max_epochs": 8}},
    "patches": {"overrides": {"trainer.max_epochs": 4}},
    "views_head": {"overrides": {"trainer.max_epochs": 4}},
    "finetune": {"overrides": {"trainer.max_epochs": 4}},
    "gallery": 2,
}


def main() -> None:
    """Runs the trials and prints what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    asked = parser.parse_args()
    photos = ProceduralLeaves(
        {"healthy": 8, "late_blight": 8, "rust": 8}, photos_per_leaf=(3, 3), size=64, seed=3
    ).write(asked.out / "photos")
    config = asked.out / "run.yaml"
    config.write_text(json.dumps(CONFIG))
    alone = asked.out / "alone"
    finish(config, photos, alone)
    figures = {
        "kills": asked.kills,
        "seed": asked.seed,
        **disturb(config, photos, asked.out, alone, asked.kills, random.Random(asked.seed)),
    }
    print(json.dumps(figures, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


def disturb(
    config: Path, photos: Path, out: Path, alone: Path, kills: int, rng: random.Random
) -> dict[str, Any]:
    """Kills until there were enough, and lets every chain end."""
    where: Counter[str] = Counter()
    scores: list[float] = []
    chain = 0
    while sum(where.values()) < kills:
        folder = out / f"chain-{chain:02d}"
        process = start(config, photos, folder)
        try:
            code = process.wait(timeout=rng.uniform(SOONEST, LATEST))
        except subprocess.TimeoutExpired:
            where[at_work(folder)] += 1
            process.kill()
            process.wait()
            continue
        assert code == 0, f"'{folder}' ended with {code}"
        scores.append(compare(alone, folder))
        chain += 1
    folder = out / f"chain-{chain:02d}"
    finish(config, photos, folder)
    scores.append(compare(alone, folder))
    return {
        "chains": len(scores),
        "killed_in": dict(where),
        "val_macro_f1_alone": summary(alone)["val_macro_f1"],
        "val_macro_f1_disturbed": scores,
    }


def start(config: Path, photos: Path, out: Path) -> subprocess.Popen[bytes]:
    """The command, which is always the same."""
    words = ["run", "-c", str(config), "--data", str(photos), "--out", str(out)]
    log = (out.parent / f"{out.name}.log").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", "lazarus_pl", *words], stdout=log, stderr=subprocess.STDOUT
    )


def finish(config: Path, photos: Path, out: Path) -> None:
    """Lets a chain end."""
    started = time.monotonic()
    code = start(config, photos, out).wait()
    assert code == 0, f"'{out}' ended with {code}"
    print(f"{out.name}: ended after {time.monotonic() - started:.0f} s", file=sys.stderr)


def at_work(out: Path) -> str:
    """The stage that is being done."""
    return next((name for name in STAGES if StageRecord.read(out, name) is None), "report")


def compare(alone: Path, out: Path) -> float:
    """Makes sure that nothing was lost or changed, and gives the chosen model's score on val."""
    assert not (out / "run.holder.json").exists()
    for pattern in ("cache/manifest.csv", "cache/jobs/*.npz"):
        ours, theirs = (digests(folder, pattern) for folder in (out, alone))
        assert ours == theirs, f"{pattern} of '{out}' differ"
    heads = [
        [item for item in summary(folder)["candidates"] if item["stage"] == "grid"]
        for folder in (out, alone)
    ]
    assert heads[0] == heads[1], f"the heads of '{out}' differ"
    states = {name: stage["state"] for name, stage in summary(out)["stages"].items()}
    assert set(states.values()) == {"done"}, states
    return float(summary(out)["val_macro_f1"])


def digests(folder: Path, pattern: str) -> dict[str, str]:
    """SHA-256 of files by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(pattern))
    }


def summary(out: Path) -> dict[str, Any]:
    """What stands in ``summary.json``."""
    content: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    return content


if __name__ == "__main__":
    main()
