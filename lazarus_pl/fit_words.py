"""The command line of ``lazarus fit``, for who trains with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lazarus_pl.config_text import named_file

# nobody looks at a run among many, or at one that is told of elsewhere
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
# what TensorBoardLogger would begin every run with, a metric of -1
LOGS_HP_METRIC = False
CALLBACKS = "trainer.callbacks"


def fit_words(config: Path, values: Mapping[str, Any]) -> list[str]:
    """``fit`` with a config file, and values by config key that differ from it."""
    words = (
        f"--{key}={json.dumps(value) if isinstance(value, (list, dict)) else value}"
        for key, value in values.items()
    )
    return ["fit", f"--config={config}", *words]


def configured(config: Path, values: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401  # YAML
    """What values by config key or else a config file set a key to; None where it says nothing.

    What is wrong with a config is told where it is read for good.
    """
    return values[key] if key in values else _at(config, key)[1]


def callbacks_of(config: Path, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The callbacks that a config or what overrides it names, whether it lists one or several."""
    place, listed = (config, values[CALLBACKS]) if CALLBACKS in values else _at(config, CALLBACKS)
    if isinstance(listed, str) and (named := named_file(place, listed)):
        listed = _read(named)
    listed = listed if isinstance(listed, list) else [listed]
    return [item for item in listed if isinstance(item, dict)]


def _at(config: Path, key: str) -> tuple[Path, Any]:
    """What a config file sets a key to, and the file that says so: one that it names, maybe."""
    place, value = config, _read(config)
    for part in key.split("."):
        if isinstance(value, str) and (named := named_file(place, value)):
            place, value = named, _read(named)
        if not isinstance(value, dict):
            return place, None
        value = value.get(part)
    return place, value


def _read(config: Path) -> Any:  # noqa: ANN401  # whatever YAML says
    try:
        return yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def logger_word(folder: Path, name: str, version: str) -> str:
    """``--trainer.logger``: TensorBoard, in a folder's ``name/version``."""
    place = {"save_dir": str(folder), "name": name, "version": version}
    logger = {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {**place, "default_hp_metric": LOGS_HP_METRIC},
    }
    return f"--trainer.logger={json.dumps(logger)}"
