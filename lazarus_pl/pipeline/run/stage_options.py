"""What a user asks of one stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jsonargparse.typing import Path_fr

from lazarus_pl.grid.grid_spec import Value


@dataclass(frozen=True)
class StageOptions:
    """A stage's own config file, and what differs from it.

    Attributes:
        config: The stage's YAML file.
        skip: Leave the stage out.
        overrides: Values by key of the config, such as ``{trainer.max_epochs: 5}``.
    """

    config: Path_fr | None = None
    skip: bool = False
    overrides: Mapping[str, Value] = field(default_factory=dict)
