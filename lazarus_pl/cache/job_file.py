"""The features of one micro-job on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.aligned_npz import NpzError, locate_npz, map_members, map_npz, write_npz
from lazarus_pl.cache.job_plan import Row
from lazarus_pl.cache.npz_member import NpzMember
from lazarus_pl.cache.ragged_grids import Layer, as_layers, as_members
from lazarus_pl.data.atomic import replace_file

_META = "meta"


@dataclass(frozen=True)
class JobFile:
    """What ``jobs/00017.npz`` holds.

    Attributes:
        key: Digest of all that determines the numbers; the cache's key.
        rows: Digest of the plan's rows that it holds (:func:`rows_digest`).
        features: By layer, one row a photo: float16 arrays, ``pooled`` ``(n, C)`` and grids
            ``(n, H, W, C)``, whose rows of failed photos are zero; grids of photos in windows are
            ragged, and failed photos have none. In the file those are the members ``grid16``, all
            cells one behind the other, and ``grid16.shapes``.
        failed: Reasons of the rows that could not be decoded, be it for good or then.
        gone: Rows whose file vanished or changed in the meantime, or could not be read then: to be
            done again.
    """

    key: str
    rows: str
    features: Mapping[str, Layer]
    failed: Mapping[int, str] = field(default_factory=dict)
    gone: tuple[int, ...] = ()

    def write(self, path: Path) -> None:
        """Writes the file in one atomic step, with a digest of its features.

        Raises:
            OSError: If the disk is full or the folder cannot be written to.
        """
        with replace_file(path) as file:
            write_npz(file, self.members())

    def members(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of the file by name: the features, and the rest as JSON."""
        layers = as_members(self.features)
        meta = {
            "key": self.key,
            "rows": self.rows,
            "sha256": _digest(layers),
            "failed": {str(row): reason for row, reason in self.failed.items()},
            "gone": list(self.gone),
        }
        text = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=np.uint8)
        return {**layers, _META: text}

    @classmethod
    def map(cls, path: Path, key: str, rows: Sequence[Row], verify: bool = False) -> JobFile:
        """Maps the features without reading them.

        Args:
            path: The file.
            key: The key of the cache that it belongs to.
            rows: What the plan says it holds.
            verify: Read everything and compare the digest.

        Raises:
            NpzError: If the file is damaged, of another key, of other rows, or fails its digest.
            OSError: If there is no such file.
        """
        return cls._of(map_npz(path), key, rows, verify)

    @classmethod
    def locate(cls, path: Path, key: str, rows: Sequence[Row]) -> dict[str, NpzMember]:
        """Where the features lie, for :func:`~lazarus_pl.cache.aligned_npz.map_members`.

        Args:
            path: The file.
            key: As for :meth:`map`.
            rows: As for :meth:`map`.

        Raises:
            NpzError: As :meth:`map`.
            OSError: If there is no such file.
        """
        members = locate_npz(path)
        cls._of(map_members(path, members), key, rows)
        return {name: member for name, member in members.items() if name != _META}

    @classmethod
    def _of(
        cls,
        arrays: dict[str, npt.NDArray[Any]],
        key: str,
        rows: Sequence[Row],
        verify: bool = False,
    ) -> JobFile:
        try:
            meta: dict[str, Any] = json.loads(bytes(arrays.pop(_META)))
            job = cls(
                meta["key"],
                meta["rows"],
                as_layers(arrays),
                {int(row): reason for row, reason in meta["failed"].items()},
                tuple(meta["gone"]),
            )
            digest = meta["sha256"]
        except (KeyError, TypeError, ValueError) as error:
            raise NpzError("its description is damaged") from error
        if job.key != key:
            raise NpzError("it was made with another encoder or other layers")
        if job.rows != rows_digest(rows) or any(
            len(layer) != len(rows) for layer in job.features.values()
        ):
            raise NpzError("it holds other photos than the plan says")
        if verify and _digest(arrays) != digest:
            raise NpzError("its features do not match their digest")
        return job


def rows_digest(rows: Sequence[Row]) -> str:
    """Which photos and views a job holds, in which order."""
    text = "\n".join([f"{sha256} {view}" for sha256, view in rows])
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(features: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in features.items():
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
