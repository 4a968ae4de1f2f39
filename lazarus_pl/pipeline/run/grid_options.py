"""What a user asks of the grid in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jsonargparse.typing import Path_fr

from lazarus_pl.grid.grid_spec import Value


@dataclass(frozen=True)
class GridOptions:
    """The grid's own config file, and what differs from it.

    Attributes:
        config: A YAML file of ``lazarus grid``.
        overrides: Values by key of the runs' configs, for every run.
    """

    config: Path_fr | None = None
    overrides: Mapping[str, Value] = field(default_factory=dict)
