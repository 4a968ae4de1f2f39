"""What came of one stage, kept so that it need not be done again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from lazarus_pl.data.atomic import replace_file

State = Literal["done", "shortened", "left out", "failed"]
_FOLDER = "stages"


@dataclass(frozen=True)
class StageRecord:
    """One line of a run's history.

    Attributes:
        stage: The stage's name.
        state: ``done``; ``shortened`` or ``left out`` to keep within the budget; or ``failed``.
        digest: Of all that determines what the stage gives.
        output: Digest of what it gave: later stages depend on it.
        files: Sizes in bytes of what it wrote, by path relative to the run's folder.
        seconds: Time that it took.
        peak_rss_mb: Most memory of the process and its children meanwhile, in millions of bytes.
        peak_gpu_mb: Most memory of tensors on the GPU; None without one.
        estimate: How long it was thought to take.
        budget: Seconds that the whole run might take, where that decided the state.
        note: A sentence on what was shortened or went wrong.
        retry: Whether a part of it failed, which the next call tries again.
    """

    stage: str
    state: State
    digest: str
    output: str = ""
    files: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    peak_gpu_mb: float | None = None
    estimate: float | None = None
    budget: float | None = None
    note: str = ""
    retry: bool = False

    def write(self, out: Path) -> None:
        """Writes ``stages/<stage>.json`` in one atomic step."""
        (out / _FOLDER).mkdir(parents=True, exist_ok=True)
        with replace_file(out / _FOLDER / f"{self.stage}.json") as file:
            file.write(json.dumps(asdict(self), indent=1).encode("utf-8", "surrogateescape"))

    @classmethod
    def read(cls, out: Path, stage: str) -> StageRecord | None:
        """Reads what :meth:`write` wrote, or None if there is nothing that can be read."""
        try:
            return cls(**json.loads((out / _FOLDER / f"{stage}.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def holds(self, out: Path, digest: str, budget: float | None) -> bool:
        """Whether nothing has changed since, and what it gave is still there."""
        if self.state == "failed" or self.digest != digest:
            return False
        if self.state != "done" and self.budget != budget:
            return False
        return all(_size(out / path) == size for path, size in self.files.items())


def sizes(paths: Iterable[Path], out: Path) -> dict[str, int]:
    """Sizes of files by their paths relative to a folder."""
    return {path.relative_to(out).as_posix(): path.stat().st_size for path in paths}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
