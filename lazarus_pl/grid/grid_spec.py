"""A list of runs from one config file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from jsonargparse.typing import Path_fr

from lazarus_pl.errors import LazarusError
from lazarus_pl.fit_words import configured, fit_words
from lazarus_pl.verb_parser import VerbParser

Scalar = bool | int | float | str
Value = Scalar | list[Scalar] | dict[str, Scalar]

_LONGEST_NAME = 64
_DIGITS = 8


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
        return fit_words(self.config, self.overrides)

    def value(self, key: str) -> Any:  # noqa: ANN401  # whatever YAML says
        """What the overrides or else the config set a key to; None where nothing can be read."""
        return configured(self.config, self.overrides, key)


@dataclass(frozen=True)
class GridSpec:
    """Every combination of a config file and a value of each axis is one run.

    Attributes:
        configs: Config files of ``lazarus fit`` by name; relative paths start at the grid's file.
        axes: Config keys and the values that each takes.
        overrides: Values by config key, for every run.
    """

    configs: Mapping[str, Path_fr]
    axes: Mapping[str, list[Value]] = field(default_factory=dict)
    overrides: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def from_file(cls, path: Path) -> GridSpec:
        """Reads a grid's YAML file.

        Raises:
            LazarusError: If a key is unknown or a value or a config file cannot be.
        """
        parser = VerbParser()
        parser.add_class_arguments(cls)
        spec = parser.instantiate(parser.parse_path(path))
        return cls(**spec.as_dict())

    def runs(self) -> Iterator[GridRun]:
        """All runs.

        Raises:
            LazarusError: If an axis has no values, or two runs would have one name.
        """
        names: set[str] = set()
        for key, values in self.axes.items():
            if not values:
                raise LazarusError(f"the axis '{key}' of the grid has no values: give some")
        for head, path in self.configs.items():
            for combination in product(*self.axes.values()):
                chosen = dict(zip(self.axes, combination, strict=True))
                name = _shortened("-".join((head, *(_part(*item) for item in chosen.items()))))
                # file systems may not tell large letters from small ones
                if name.lower() in names:
                    raise LazarusError(f"the grid has the run '{name}' twice: take one of them out")
                names.add(name.lower())
                yield GridRun(
                    name=name,
                    head=head,
                    config=Path(os.fspath(path)),
                    overrides={**self.overrides, **chosen},
                )


def _part(key: str, value: Value) -> str:
    short = {"seed_everything": "seed"}.get(key, key.rsplit(".", 1)[-1])
    # what file systems do not take, Windows' among them
    return re.sub(r"[^\w.+=-]", "_", f"{short}{_joined(value)}")


def _joined(value: Value) -> str:
    if isinstance(value, dict):
        return "+".join(f"{key}{_text(each)}" for key, each in value.items())
    return "+".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _shortened(name: str) -> str:
    """A name that a path has room for; a digest keeps long ones apart."""
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    return f"{name[: _LONGEST_NAME - _DIGITS - 1]}-{digest}"


def _text(value: Scalar) -> str:
    """Short, but no two values alike."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
