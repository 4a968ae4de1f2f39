"""What was chosen on val, and where that is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.pipeline.run.candidate import Candidate


class Choice:
    """The chosen model of a run, with the figures that it was chosen by.

    Args:
        out: The run's folder.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / "choose"

    @property
    def checkpoint(self) -> Path:
        """A copy of the chosen one, calibrated on val."""
        return self.folder / "chosen.ckpt"

    @property
    def config(self) -> Path:
        """What the chosen one was trained with."""
        return self.folder / "config.yaml"

    @property
    def result(self) -> Path:
        """All candidates with their scores."""
        return self.folder / "result.json"

    def write(self, result: Mapping[str, Any]) -> None:
        """Keeps the figures, in one atomic step."""
        with replace_file(self.result) as file:
            file.write(json.dumps(result).encode("utf-8", "surrogateescape"))

    def read(self) -> dict[str, Any]:
        """The figures."""
        found: dict[str, Any] = json.loads(self.result.read_bytes())
        return found

    @property
    def model(self) -> Candidate:
        """The chosen one."""
        return Candidate(**self.read()["chosen"])

    @property
    def candidates(self) -> list[Candidate]:
        """All that there were to choose from, in the order in which they were trained."""
        return [Candidate(**item) for item in self.read()["candidates"]]
