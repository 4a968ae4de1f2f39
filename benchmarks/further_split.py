"""Splits whose test photos lie further away from train than those of lazarus' own."""

from __future__ import annotations

from pathlib import Path

from far_split import far_table
from session_split import FOLDS, session_table

_SESSION = "session-"
FURTHER = ("far", *(f"{_SESSION}{fold}" for fold in range(FOLDS)))


def further_table(name: str, data: Path, cache: Path, table: Path) -> Path:
    """The photos with their sides, as a table to extract from.

    Args:
        name: One of :data:`FURTHER`.
        data: Folder that the cache's paths begin at.
        cache: Whose photos; of lazarus' own split.
        table: File to write.
    """
    if name == "far":
        return far_table(data, cache, table)
    return session_table(data, cache, int(name.removeprefix(_SESSION)), table)
