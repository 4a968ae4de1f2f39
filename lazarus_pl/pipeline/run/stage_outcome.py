"""What a stage hands to the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lazarus_pl.pipeline.run.stage_record import State


@dataclass(frozen=True)
class StageOutcome:
    """What was written, and whether all of it was done.

    Attributes:
        files: What must still be there for the stage to count as done.
        output: Digest of what it gave.
        state: ``done``, ``shortened`` or ``left out``.
        note: Why it was shortened or left out, or what else is to be known.
        retry: Whether a part of it failed, which the next call tries again.
    """

    files: Sequence[Path] = field(default_factory=tuple)
    output: str = ""
    state: State = "done"
    note: str = ""
    retry: bool = False
