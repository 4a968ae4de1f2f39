"""What a finished extraction leaves, so that the next call sees at once that nothing is left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lazarus_pl import __version__
from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.files_digest import files_digest, seen
from lazarus_pl.data.listing import list_photos

_NAME = "finished.json"
# of the cache and of its views
_FILES = ("cache.json", "manifest.csv", "quarantine.csv", "jobs.csv", "views.json")


class Seal:
    """Recognises a finished cache by names, sizes and modification times alone.

    Photos are looked at when the seal is made, before they are listed and read: what changes
    meanwhile does not match at the next call. The cache is looked at when it is finished.

    Args:
        data: Folder or table of photos.
        out: The cache's folder.
    """

    def __init__(self, data: Path, out: Path) -> None:
        self._data = data
        self._out = out
        self._photos = _photos_digest(data)

    @property
    def is_there(self) -> bool:
        """Whether the cache was sealed, whatever was changed since."""
        return (self._out / _NAME).is_file()

    def read(self, asked: Any) -> Mapping[str, Any] | None:  # noqa: ANN401  # plain types
        """What :meth:`write` was told, if photos, cache and what is asked for are as they were."""
        try:
            content = json.loads((self._out / _NAME).read_bytes())
            told: Mapping[str, Any] = content["told"]
            return told if content["digest"] == self._digest(asked) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, asked: Any, told: Mapping[str, Any]) -> None:  # noqa: ANN401  # plain types
        """Seals the cache as it is now.

        Args:
            asked: All that determines what an extraction does, in plain types.
            told: What is to be told of it, in plain types.
        """
        digest = self._digest(asked)
        with replace_file(self._out / _NAME) as file:
            file.write(json.dumps({"digest": digest, "told": dict(told)}).encode())

    def _digest(self, asked: Any) -> str:  # noqa: ANN401  # plain types
        parts = [__version__, str(self._data.resolve()), self._photos, asked]
        views = (header.parent for header in (self._out / "views").glob("*/views.json"))
        for folder in (self._out, *sorted(views)):
            parts.append([seen(folder / name) for name in _FILES])
            jobs = folder / "jobs"
            parts.append(files_digest(jobs) if jobs.is_dir() else "")
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _photos_digest(data: Path) -> str:
    if data.is_dir():
        return files_digest(data)
    root, listed = list_photos(data)
    stats = [seen(data), *(seen(root / item.path) for item in listed)]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()
