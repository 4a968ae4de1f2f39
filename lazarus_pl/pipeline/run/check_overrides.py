"""Mistakes in values by config key, before hours are spent on what comes first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lazarus_pl.errors import LazarusError
from lazarus_pl.fit_words import fit_words


def check_overrides(option: str, config: Path, values: Mapping[str, Any], cache: Path) -> None:
    """Has the parser of ``lazarus fit`` look at keys that the config itself does not have.

    Keys that it has are taken as they are: the parser's imports take seconds.

    Args:
        option: What the values were given as.
        config: A config of ``lazarus fit``.
        values: By config key.
        cache: The feature cache that there will be.

    Raises:
        LazarusError: If there is no such key, or it cannot have such a value.
    """
    if all(_is_there(config, key) for key in values):
        return
    from lazarus_pl.lightning_cli import quiet
    from lazarus_pl.pipeline.run.parsed_run import ParsedRun

    quiet()
    try:
        ParsedRun([*fit_words(config, values), f"--data.init_args.cache={cache}"])
    except LazarusError as error:
        raise LazarusError(f"{option}: {error}") from error


def _is_there(config: Path, key: str) -> bool:
    try:
        content: Any = yaml.safe_load(config.read_text(encoding="utf-8"))
    # told where the config is read for good
    except (OSError, ValueError, yaml.YAMLError):
        return True
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True
