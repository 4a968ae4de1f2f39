"""What a user asks of the audit in a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditOptions:
    """Whether there is one.

    Attributes:
        skip: Leave it out: no findings about the data, and no estimates of time.
    """

    skip: bool = False
