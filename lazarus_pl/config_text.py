"""What a config file says, with the files that it refers to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


def config_text(path: Path) -> str:
    """The text of a config file, and of every config file that one of its values names.

    A value may be the path of a file that holds it, relative to the file that it stands in
    (`jsonargparse <https://jsonargparse.readthedocs.io/en/stable/#configuration-files>`_). Of a
    config that refers to no other it is its text alone.

    Raises:
        OSError: If the file cannot be read.
        UnicodeDecodeError: If it is no UTF-8.
    """
    return "\0".join(_texts(path, set()))


def _texts(path: Path, seen: set[Path]) -> Iterator[str]:
    seen.add(path.resolve())
    text = path.read_text(encoding="utf-8")
    yield text
    try:
        content = yaml.safe_load(text)
    # what is wrong with it is told where it is read for good
    except yaml.YAMLError:
        return
    for value in _values(content):
        named = named_file(path, value)
        if named is not None and named.resolve() not in seen:
            yield from _texts(named, seen)


def named_file(config: Path, value: str) -> Path | None:
    """The config file that a value of another one names, if there is one."""
    named = config.parent / value
    try:
        return named if named.suffix in _SUFFIXES and named.is_file() else None
    # such as a name that is too long for one
    except (OSError, ValueError):
        return None


def _values(content: object) -> list[str]:
    """All texts in what YAML gives, whose lists and mappings may hold themselves."""
    found: list[str] = []
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, (dict, list)) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
    return found
