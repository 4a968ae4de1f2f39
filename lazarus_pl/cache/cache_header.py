"""What a feature cache is a cache of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.errors import LazarusError

FORMAT = 1
JOB_SIZE = 64

_NAME = "cache.json"


@dataclass(frozen=True)
class CacheHeader:
    """The contents of ``cache.json``.

    Attributes:
        encoder: The encoder's identity: name, weights, data config and a digest of them.
        layers: Shape of one photo's features by layer; of grids of photos in windows, that of a
            photo of one window.
        request: What the user asked for (encoder settings), to recognise the same call again.
        precision: In which the features were computed: ``32``, ``bf16`` or ``16``; ``auto`` before
            that is known.
        data: The folder or table that the photos came from.
        label_from: How labels were read off folders.
        split: The settings of the split.
        windows: How large photos were read.
        engines: What ran the encoder: of each ``name``, ``device`` and what was ``measured``.
            Several are there only in float32, where they agree but for rounding.
    """

    encoder: dict[str, Any]
    layers: dict[str, tuple[int, ...]]
    request: dict[str, Any]
    precision: str
    data: str
    label_from: str
    split: dict[str, Any]
    windows: WindowsSpec = field(default_factory=WindowsSpec)
    engines: tuple[dict[str, Any], ...] = ()

    @property
    def key(self) -> str:
        """Digest of all that determines the numbers: features of two keys never mix."""
        parts: dict[str, Any] = {
            "format": FORMAT,
            "encoder": self.encoder["digest"],
            "layers": {name: list(shape) for name, shape in self.layers.items()},
            "dtype": "float16",
        }
        if self.windows.count > 1:
            parts["windows"] = asdict(self.windows)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Writes ``cache.json`` in one atomic step."""
        with replace_file(folder / _NAME) as file:
            content = {"format": FORMAT, "key": self.key, **asdict(self)}
            file.write(json.dumps(content, indent=2).encode())

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether the folder holds a cache."""
        return (folder / _NAME).is_file()

    @classmethod
    def read(cls, folder: Path) -> CacheHeader:
        """Reads what :meth:`write` wrote.

        Raises:
            LazarusError: If the folder holds no cache, a damaged one, or one of another format.
        """
        path = folder / _NAME
        if not path.is_file():
            fresh = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
            raise LazarusError(
                f"'{folder}' is no feature cache (it has no {_NAME}): give the folder that "
                f"lazarus extract wrote, or make one with lazarus extract --data PHOTOS --out "
                f"{folder if fresh else 'CACHE'}"
            )
        try:
            content = json.loads(path.read_bytes())
            if content["format"] != FORMAT:
                raise LazarusError(
                    f"'{path}' has format {content['format']}, this version reads {FORMAT}: "
                    "extract into another folder"
                )
            header = cls(
                encoder=dict(content["encoder"]),
                layers={name: tuple(shape) for name, shape in content["layers"].items()},
                request=dict(content["request"]),
                precision=str(content["precision"]),
                data=str(content["data"]),
                label_from=str(content["label_from"]),
                split=dict(content["split"]),
                windows=WindowsSpec(**content.get("windows", {})),
                engines=tuple(content.get("engines", ())),
            )
            if header.key != content["key"]:
                raise ValueError("its key does not match its contents")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LazarusError(
                f"'{path}' is damaged ({error}): restore it from a copy, or extract into another "
                "folder"
            ) from error
        return header
