"""Python, the processor and memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from lazarus_pl.audit.doctor.probe.stage import Facts

_CPU_INFO = Path("/proc/cpuinfo")
_MOMENT = 0.3
_FLAGS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512-BF16",
    "amx_tile": "AMX",
}


def python() -> Facts:
    """Version, platform and, where the system lists them, the processor's name and features."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": platform.processor(),
        **_cpu_info(),
    }


def cores() -> Facts:
    """Cores that this process may use, those without hyper-threading, and those in use now."""
    import psutil

    busy = psutil.cpu_percent(interval=_MOMENT) / 100 * (psutil.cpu_count() or 1)
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "physical_cores": psutil.cpu_count(logical=False),
        "busy_cores": round(busy, 1),
    }


def memory() -> Facts:
    """All memory and what programs can still have."""
    import psutil

    found = psutil.virtual_memory()
    return {"ram": found.total, "free_ram": found.available}


def _cpu_info() -> Facts:
    """Linux: torch, which knows the features on every system, need not work for this."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = [tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line]
    info = dict(reversed([pair for pair in pairs if len(pair) == 2]))
    facts: Facts = {"cpu": name} if (name := info.get("model name")) else {}
    if "flags" in info:
        flags = info["flags"].split()
        facts["cpu_features"] = [name for flag, name in _FLAGS.items() if flag in flags]
    return facts
