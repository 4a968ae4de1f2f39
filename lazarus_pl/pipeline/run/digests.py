"""Digests of what determines a stage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lazarus_pl.config_text import config_text
from lazarus_pl.data.listing import LabelFrom, list_photos
from lazarus_pl.data.sha256_of_file import sha256_of_file
from lazarus_pl.errors import LazarusError


def digest_of(*parts: Any) -> str:  # noqa: ANN401  # anything that can be written as text
    """SHA-256 of values, the same in every process."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; nothing where there is none."""
    return sha256_of_file(path) if path.is_file() else ""


def listing_digest(data: Path, label_from: LabelFrom) -> str:
    """SHA-256 of what a dataset lists, with size and modification time; no photo is opened.

    Raises:
        LazarusError: If there is no such data.
    """
    root, listed = list_photos(data, label_from)
    digest = hashlib.sha256()
    for item in listed:
        try:
            status = (root / item.path).stat()
            seen = (status.st_size, status.st_mtime_ns)
        except OSError:
            seen = (-1, -1)
        line = f"{item.path}\0{item.label}\0{item.group}\0{item.split}\0{seen}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def text_of(config: Path) -> str:
    """What a config file says, as :func:`~lazarus_pl.config_text.config_text` has it.

    Raises:
        LazarusError: If it cannot be read.
    """
    try:
        return config_text(config)
    except (OSError, UnicodeDecodeError) as error:
        raise LazarusError(
            f"the config file '{config}' cannot be read ({error}): name a YAML file in UTF-8"
        ) from error
