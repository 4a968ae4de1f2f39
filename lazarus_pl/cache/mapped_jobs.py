"""Rows of features out of the mapped files of one plan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.aligned_npz import NpzError, map_members
from lazarus_pl.cache.job_index import JobIndex, JobState
from lazarus_pl.cache.job_plan import JobPlan, Row
from lazarus_pl.cache.npz_member import NpzMember
from lazarus_pl.cache.ragged_grids import Layer, RaggedGrids, as_layers
from lazarus_pl.errors import LazarusError

# each map keeps a file open; systems allow 1024 by default, and views have maps of their own
_MAPS = 384

_Layers = dict[str, Layer]


class MappedJobs:
    """Reads rows of job files, which are mapped when they are first needed.

    An instance can be sent to another process: it maps anew there.

    Args:
        folder: Where ``jobs`` lies.
        key: The key of its files.
        way_out: The command that does a damaged job again.

    Raises:
        LazarusError: If the plan is damaged.

    Attributes:
        plan: The rows of every job.
    """

    def __init__(self, folder: Path, key: str, way_out: str) -> None:
        self._index = JobIndex(folder, key)
        self._way_out = way_out
        self.plan = JobPlan.read(folder / "jobs.csv")
        self._maps: OrderedDict[int, _Layers] = OrderedDict()
        # what was closed is opened again without a search
        self._members: dict[int, tuple[str, dict[str, NpzMember]]] = {}

    def done(self) -> Iterator[tuple[int, Sequence[Row], JobState]]:
        """The jobs that have been done: number, rows and state.

        Raises:
            LazarusError: If the file of one is damaged.
        """
        for number, rows in enumerate(self.plan.jobs):
            try:
                state = self._index.state(number, rows)
            except (NpzError, OSError) as error:
                raise self._damaged(number, error) from error
            if state is not None:
                yield number, rows, state

    def gather(
        self, layer: str, shape: Sequence[int], places: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float16]:
        """Copies rows out of the files.

        Args:
            layer: Which features, not those of ragged grids.
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
                values = self._layers(int(jobs[chosen[0]]))[layer]
                assert not isinstance(values, RaggedGrids)
                out[chosen] = values[rows[chosen]]
        return out

    def grids(self, layer: str, places: npt.NDArray[np.integer]) -> list[npt.NDArray[np.float16]]:
        """Grids in the mapped files, not copied.

        Args:
            layer: Which features.
            places: Job and row of each, ``(N, 2)``.

        Returns:
            float16 ``(H, W, C)`` each.

        Raises:
            LazarusError: If a file was damaged meanwhile.
        """
        return [self._layers(int(job))[layer][int(row)] for job, row in places]

    def _layers(self, number: int) -> _Layers:
        if number in self._maps:
            self._maps.move_to_end(number)
            return self._maps[number]
        try:
            if number not in self._members:
                members = self._index.locate(number, self.plan.jobs[number])
                self._members[number] = str(self._index.path(number)), members
            layers = as_layers(map_members(*self._members[number]))
        except (NpzError, OSError, ValueError) as error:
            raise self._damaged(number, error) from error
        self._maps[number] = layers
        if len(self._maps) > _MAPS:
            self._maps.popitem(last=False)
        return layers

    def _damaged(self, number: int, error: Exception) -> LazarusError:
        return LazarusError(
            f"'{self._index.path(number)}' is damaged ({error}): run {self._way_out} again, it "
            "redoes that job alone"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the maps behind: another process opens its own."""
        return {**self.__dict__, "_maps": OrderedDict()}
