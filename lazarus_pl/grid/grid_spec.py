"""A list of runs from one config file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from lazarus_pl.errors import LazarusError

Value = bool | int | float | str


@dataclass(frozen=True)
class GridRun:
    """One run of a grid.

    Attributes:
        name: Names its folder: the config's name and the values of the axes.
        head: The config's name.
        config: The config file.
        overrides: Values by config key.
    """

    name: str
    head: str
    config: Path
    overrides: Mapping[str, Value]

    def arguments(self) -> list[str]:
        """The run as ``lazarus fit`` is told it."""
        overrides = [f"--{key}={value}" for key, value in self.overrides.items()]
        return ["fit", f"--config={self.config}", *overrides]


@dataclass(frozen=True)
class GridSpec:
    """Every combination of a config file and a value of each axis is one run.

    Attributes:
        configs: Config files of ``lazarus fit`` by name; relative paths start at the grid's file.
        axes: Config keys and the values that each takes.
        overrides: Values by config key, for every run.
    """

    configs: dict[str, str]
    axes: dict[str, list[Value]] = field(default_factory=dict)
    overrides: dict[str, Value] = field(default_factory=dict)

    def runs(self, folder: Path) -> Iterator[GridRun]:
        """All runs.

        Args:
            folder: What relative config paths start at.

        Raises:
            LazarusError: If a config file does not exist or an axis has no values.
        """
        for key, values in self.axes.items():
            if not values:
                raise LazarusError(f"the axis '{key}' of the grid has no values: give some")
        for name, text in self.configs.items():
            config = folder / text
            if not config.is_file():
                raise LazarusError(f"the grid names the config '{config}', which does not exist")
            for values in product(*self.axes.values()):
                chosen = dict(zip(self.axes, values, strict=True))
                yield GridRun(
                    name="-".join((name, *(_part(*item) for item in chosen.items()))),
                    head=name,
                    config=config,
                    overrides={**self.overrides, **chosen},
                )


def _part(key: str, value: Value) -> str:
    short = {"seed_everything": "seed"}.get(key, key.rsplit(".", 1)[-1])
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{short}{text}".replace("/", "_")
