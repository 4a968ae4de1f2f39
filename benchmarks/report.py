"""A benchmark's table on the screen, and the same figures as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from scipy.stats import sem
from scipy.stats import t as student

Row = Mapping[str, str | int | float]


def folder_of(out: Path, way: str) -> Path:
    """Where a way's own files lie: its name without blanks and commas."""
    return out / way.replace(" ", "-").replace(",", "")


def half_width(values: Sequence[float]) -> float:
    """Of the 95 % interval of a mean over seeds (Student's t); 0 for a single seed."""
    if len(values) < 2:
        return 0.0
    return float(student.ppf(0.975, len(values) - 1) * sem(values))


def report(name: str, rows: Sequence[Row], about: Mapping[str, str | int | float]) -> None:
    """Prints rows as a Markdown table and writes ``benchmarks/results/<name>.json``.

    Args:
        name: Of the benchmark.
        rows: Cells by column; all with the same columns.
        about: What was measured, on what.
    """
    columns = list(rows[0])
    cells = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, parts)) for parts in zip(columns, *cells, strict=True)]
    for line in (columns, ["-" * width for width in widths], *cells):
        print("| " + " | ".join(t.ljust(w) for t, w in zip(line, widths, strict=True)) + " |")
    machine = {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "processor": _processor(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "timm", "lightning", "numpy")},
    }
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    content = {"about": about, "machine": machine, "rows": list(rows)}
    path = results / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {path}")


def _text(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "")
