"""NVIDIA cards, found without torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from lazarus_pl.audit.doctor.probe.stage import Facts

_FIELDS = "name,driver_version,memory.total,compute_cap"
# drivers from before R470 do not know the last field
_OLD_FIELDS = "name,driver_version,memory.total"
_SECONDS = 20
_MIB = 1 << 20
_NVIDIA = "0x10de"
_DISPLAY = "0x03"

# where it lies under Windows' Linux, outside the search path
_WSL = "/usr/lib/wsl/lib"
_DRIVER = Path("/proc/driver/nvidia")
_PCI = Path("/sys/bus/pci/devices")


def cards() -> Facts:
    """Cards that the driver answers for; if none, those that Linux knows of all the same."""
    return {
        "cards": _from_driver() or _from_proc() or _from_pci(),
        "visible_cards": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def parse_smi(text: str) -> list[dict[str, Any]]:
    """Cards from the comma-separated lines of ``nvidia-smi --query-gpu``.

    Args:
        text: Name, driver, memory in MiB and, from newer drivers, compute capability.
    """
    found = []
    for line in text.splitlines():
        name, driver, memory, *capability = [part.strip() for part in line.split(",")]
        found.append(
            {
                "name": name,
                "driver": driver,
                "memory": int(memory) * _MIB if memory.isdigit() else None,
                "capability": _capability(*capability),
            }
        )
    return found


def _from_driver() -> list[dict[str, Any]]:
    path = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=_WSL)
    if not path:
        return []
    return parse_smi(_query(path, _FIELDS) or _query(path, _OLD_FIELDS))


def _query(path: str, fields: str) -> str:
    command = [path, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # a query that it cannot answer may be an error on standard output
    sound = done.returncode == 0 and all(line.count(",") >= 2 for line in done.stdout.splitlines())
    return done.stdout if sound else ""


def _capability(text: str = "") -> list[int] | None:
    found = re.fullmatch(r"(\d+)\.(\d+)", text)
    return [int(found[1]), int(found[2])] if found else None


def _from_proc() -> list[dict[str, Any]]:
    texts = [path.read_text() for path in sorted(_DRIVER.glob("gpus/*/information"))]
    names = [found[1] for text in texts if (found := re.search(r"Model:\s*(.+)", text))]
    return [{"name": name.strip()} for name in names]


def _from_pci() -> list[dict[str, Any]]:
    return [
        {"name": f"NVIDIA card (PCI device {_read(device / 'device')})"}
        for device in sorted(_PCI.glob("*"))
        if _read(device / "vendor") == _NVIDIA and _read(device / "class").startswith(_DISPLAY)
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
