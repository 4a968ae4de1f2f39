"""What views show: a YAML list of transforms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from lazarus_pl.errors import LazarusError
from lazarus_pl.shipped_config import shipped_config

FORMAT = 2

Step: TypeAlias = tuple[str, Mapping[str, Any]]
Chain: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True)
class ViewPolicy:
    """The transforms that make a view of a photo.

    A file holds a list of steps, each a class of ``torchvision.transforms.v2`` or our own with its
    arguments; or ``views:`` with several such lists, which the views take in turn: the first view
    the first list, the second view the second one, and round again.

    Attributes:
        path: The file; folders of backgrounds are relative to it.
        chains: The lists of steps.
    """

    path: Path
    chains: tuple[Chain, ...]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def content(self) -> list[list[dict[str, Any]]]:
        """The chains in plain types, as YAML holds them."""
        return [_plain(chain) for chain in self.chains]

    @property
    def digest(self) -> str:
        """Digest of the steps and of the names and sizes of the backgrounds that they draw from."""
        parts = {
            "format": FORMAT,
            "chains": self.content,
            "folders": [_listing(folder) for folder in self._folders()],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    @classmethod
    def find(cls, name: str) -> ViewPolicy:
        """Reads a policy by its path, or by its name if it comes with lazarus.

        Raises:
            LazarusError: If there is no such file or it is no policy.
        """
        path = Path(name)
        if path.is_file():
            return cls.read(path)
        shipped = shipped_config(f"views/{name}.yaml")
        if path.name == name and shipped.is_file():
            return cls.read(shipped)
        there = ", ".join(sorted(path.stem for path in shipped.parent.glob("*.yaml")))
        raise LazarusError(
            f"there is no policy '{name}': give a YAML file of transforms, or one of {there}"
        )

    @classmethod
    def read(cls, path: Path) -> ViewPolicy:
        """Reads a policy's file.

        Raises:
            LazarusError: If it is no policy.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise LazarusError(f"the policy '{path}' cannot be read: {reason}") from error
        try:
            return cls(path, _chains(content))
        except ValueError as error:
            raise LazarusError(
                f"'{path}' is no policy ({error}): write a list of transforms, each as "
                "'- Name' or '- Name: {argument: value}'"
            ) from error

    def _folders(self) -> Iterator[Path]:
        for chain in self.chains:
            for _, arguments in _all_steps(chain):
                if arguments.get("folder") is not None:
                    yield self.path.parent / str(arguments["folder"])


def _chains(content: object) -> tuple[Chain, ...]:
    if isinstance(content, Mapping):
        if set(content) != {"views"} or not isinstance(content["views"], Sequence):
            raise ValueError("a mapping must have the one key 'views' with a list of lists")
        chains = tuple(_chain(steps) for steps in content["views"])
        if not chains:
            raise ValueError("'views' is empty")
        return chains
    return (_chain(content),)


def _chain(steps: object) -> Chain:
    if not isinstance(steps, list) or not steps:
        raise ValueError("there is no list of steps")
    return tuple(_step(step) for step in steps)


def _step(step: object) -> Step:
    if isinstance(step, str):
        return step, {}
    if not isinstance(step, Mapping) or len(step) != 1:
        raise ValueError(f"'{step}' is no step")
    name, arguments = next(iter(step.items()))
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        raise ValueError(f"the arguments of '{name}' have no names")
    arguments = dict(arguments)
    if "transforms" in arguments:
        arguments["transforms"] = _nested(arguments["transforms"])
    return str(name), arguments


def _nested(steps: object) -> list[Chain]:
    """The steps that a step chooses from; each may be a list of steps."""
    if not isinstance(steps, list) or not steps:
        raise ValueError("there is no list of 'transforms'")
    return [_chain(step if isinstance(step, list) else [step]) for step in steps]


def _all_steps(chain: Chain) -> Iterator[Step]:
    for name, arguments in chain:
        yield name, arguments
        for nested in arguments.get("transforms", ()):
            yield from _all_steps(nested)


def _plain(chain: Chain) -> list[dict[str, Any]]:
    return [
        {
            name: {
                key: [_plain(nested) for nested in value] if key == "transforms" else value
                for key, value in arguments.items()
            }
        }
        for name, arguments in chain
    ]


def _listing(folder: Path) -> list[tuple[str, int]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths]
