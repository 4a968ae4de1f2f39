"""The features of augmented views beside those of the plain photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.cache.mapped_jobs import MappedJobs
from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.errors import LazarusError

_NOWHERE = -1


class CachedViews:
    """Reads features of training photos by their place in the manifest and the view's number.

    Args:
        cache: The cache.
        policy: Whose views, as in :meth:`ViewsHeader.find`.
        count: How many views of each photo are needed; None takes as many as there are.

    Raises:
        LazarusError: If there are no such views, or not as many of every training photo.

    Attributes:
        header: What the views are of.
        count: How many there are of every training photo, or as many as were asked for.
    """

    def __init__(
        self, cache: FeatureCache, policy: str | None = None, count: int | None = None
    ) -> None:
        self._cache = cache
        self.header = ViewsHeader.find(cache.folder, policy)
        folder = self.header.folder(cache.folder)
        way_out = f"{cache.way_out} with --views.count and --views.policy"
        self._jobs = MappedJobs(folder, self.header.key(cache.header.key), way_out)
        self._places, there = self._locate()
        if not there or (count or 0) > there:
            raise LazarusError(
                f"the cache '{cache.folder}' has {there} views of the policy '{self.header.name}' "
                f"of every training photo, not {count or 'one'}: run {way_out} again, it makes "
                "those that are missing"
            )
        self.count = count or there

    def gather(
        self,
        layer: str,
        indices: Sequence[int] | npt.NDArray[np.intp],
        views: Sequence[int] | npt.NDArray[np.intp],
    ) -> npt.NDArray[np.float16]:
        """Copies the features of some views out of the mapped files.

        Args:
            layer: As in :meth:`FeatureCache.gather`.
            indices: Places in the manifest, of training photos where the view is not 0.
            views: The number of each view, 0 for the plain photo.

        Returns:
            float16 of shape ``(len(indices), *feature_shapes[layer])``; the plain photo's where a
            view could not be made.

        Raises:
            LazarusError: As in :meth:`FeatureCache.gather`.
        """
        photos, numbers = np.asarray(indices, dtype=np.intp), np.asarray(views, dtype=np.intp)
        shape = self._cache.feature_shapes[layer]
        places = self._places[photos, numbers]
        plain = places[:, 0] == _NOWHERE
        if plain.all():
            return self._cache.gather(layer, photos)
        seen = self._jobs.gather(layer, shape, places[~plain])
        if not plain.any():
            return seen
        out = np.empty((len(photos), *shape), dtype=np.float16)
        out[plain] = self._cache.gather(layer, photos[plain])
        out[~plain] = seen
        return out

    def _locate(self) -> tuple[npt.NDArray[np.intp], int]:
        """Job and row of every view, ``(photos, 1 + views, 2)``, and how many all photos have."""
        plan = self._jobs.plan
        most = max((row.view for job in plan.jobs for row in job), default=0)
        photos = self._cache.manifest.photos
        index: dict[str, list[int]] = {}
        for place in self._cache.indices("train"):
            index.setdefault(photos[place].sha256, []).append(int(place))
        places = np.full((len(photos), 1 + most, 2), _NOWHERE, dtype=np.intp)
        done = np.zeros((len(photos), 1 + most), dtype=bool)
        for number, rows, state in self._jobs.done():
            for row, (sha256, view) in enumerate(rows):
                mine = index.get(sha256, [])
                if row in state.gone or not mine:
                    continue
                done[mine, view] = True
                if row not in state.failed:
                    places[mine, view] = number, row
        complete = done[self._cache.indices("train"), 1:].all(axis=0)
        return places, int(np.append(complete, False).argmin())
