"""One row of the quarantine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejected:
    """A photo that cannot be used, and why.

    Attributes:
        path: Relative to the dataset's root with forward slashes, or absolute if outside it.
        label: Class name; empty where it is not known.
        reason: One sentence without a full stop.
    """

    path: str
    label: str
    reason: str
