"""Python, the processor and memory."""

from __future__ import annotations

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

    from lazarus_pl.usable_cores import allowed_cores, usable_cores

    allowed, usable = allowed_cores(), usable_cores()
    # of the whole machine; a container may be told of none but its own, by other numbers
    used = dict(enumerate(psutil.cpu_percent(interval=_MOMENT, percpu=True)))
    busy = sum(used.get(core, 0.0) for core in allowed) / 100
    # a share of many cores is taken from those that are idle first
    lacking = max(0.0, busy - (len(allowed) - usable))
    return {
        "cores": usable,
        "physical_cores": psutil.cpu_count(logical=False),
        "busy_cores": round(lacking, 1),
    }


def memory() -> Facts:
    """All memory and what programs can still have, of the container if this is one."""
    from lazarus_pl.usable_memory import usable_memory

    found = usable_memory()
    return {"ram": found.total, "free_ram": found.free}


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
