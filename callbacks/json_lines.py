"""Events as a file of JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one line; numbers that JSON has no word for become ``null``.

    A line that a killed process left unfinished stays alone on its line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(_finite(dict(record)), allow_nan=False, ensure_ascii=False)
    with path.open("ab+") as file:
        if file.tell() and _last_byte(path) != b"\n":
            file.write(b"\n")
        file.write(f"{line}\n".encode())


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1)


def _finite(value: Any) -> Any:  # noqa: ANN401  # JSON is of any type
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
