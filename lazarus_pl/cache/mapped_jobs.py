"""Rows of features out of the mapped files of one plan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.aligned_npz import NpzError
from lazarus_pl.cache.job_file import JobFile
from lazarus_pl.cache.job_index import JobIndex, JobState
from lazarus_pl.errors import LazarusError

# each map keeps a file open; systems allow 1024 by default
_MAPS = 512


class MappedJobs:
    """Reads rows of job files, which are mapped when they are first needed.

    An instance can be sent to another process: it maps anew there.

    Args:
        folder: Where ``jobs`` lies.
        key: The key of its files.
        way_out: The command that does a damaged job again.
    """

    def __init__(self, folder: Path, key: str, way_out: str) -> None:
        self._index = JobIndex(folder, key)
        self._way_out = way_out
        self._maps: OrderedDict[int, JobFile] = OrderedDict()

    def state(self, number: int) -> JobState | None:
        """The state of a job, or None if it has not been done.

        Raises:
            LazarusError: If its file is damaged.
        """
        try:
            return self._index.state(number)
        except (NpzError, OSError) as error:
            raise self._damaged(number, error) from error

    def gather(
        self, layer: str, shape: Sequence[int], places: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float16]:
        """Copies rows out of the files.

        Args:
            layer: Which features.
            shape: Of one row.
            places: Job and row of each, ``(N, 2)``.

        Returns:
            float16 ``(N, *shape)``.

        Raises:
            LazarusError: If a file was damaged meanwhile.
        """
        jobs, rows = places.T
        out = np.empty((len(jobs), *shape), dtype=np.float16)
        order = np.argsort(jobs, kind="stable")
        starts = np.flatnonzero(np.diff(jobs[order], prepend=-1))
        for chosen in np.split(order, starts[1:]):
            if len(chosen):
                out[chosen] = self._job(int(jobs[chosen[0]])).features[layer][rows[chosen]]
        return out

    def _job(self, number: int) -> JobFile:
        if number in self._maps:
            self._maps.move_to_end(number)
            return self._maps[number]
        try:
            job = self._index.map(number)
        except (NpzError, OSError) as error:
            raise self._damaged(number, error) from error
        self._maps[number] = job
        if len(self._maps) > _MAPS:
            self._maps.popitem(last=False)
        return job

    def _damaged(self, number: int, error: Exception) -> LazarusError:
        return LazarusError(
            f"'{self._index.path(number)}' is damaged ({error}): run {self._way_out} again, it "
            "redoes that job alone"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the maps behind: another process opens its own."""
        return {**self.__dict__, "_maps": OrderedDict()}
