"""The features of augmented views beside those of the plain photos."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.cache.find_digests import Digests, find_digests, pack_digests
from lazarus_pl.cache.mapped_jobs import MappedJobs
from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.data.split.split_spec import Side
from lazarus_pl.errors import LazarusError

_NOWHERE = -1
# of a row's job, row and view
_VIEW = 2


class CachedViews:
    """Reads features of photos by their place in the manifest and the view's number.

    Args:
        cache: The cache.
        policy: Whose views, as in :meth:`ViewsHeader.find`.
        count: How many views of each photo are needed; None takes as many as there are.
        sides: Sides of the split whose photos must have them.

    Raises:
        LazarusError: If there are no such views, or not as many of every photo.

    Attributes:
        header: What the views are of.
        count: How many there are of every photo of the sides, or as many as were asked for.
    """

    def __init__(
        self,
        cache: FeatureCache,
        policy: str | None = None,
        count: int | None = None,
        sides: Sequence[Side] = ("train",),
    ) -> None:
        self._cache = cache
        self._sides = sides
        self.header = ViewsHeader.find(cache.folder, policy)
        folder = self.header.folder(cache.folder)
        way_out = f"{cache.way_out} with --views.count and --views.policy"
        if tuple(sides) != ("train",):
            way_out += f", --views.sides '[{', '.join(sides)}]'"
        self._jobs = MappedJobs(folder, self.header.key(cache.header.key), way_out)
        self._places, there = self._locate()
        if not there or (count or 0) > there:
            raise LazarusError(
                f"the cache '{cache.folder}' has {there} views of the policy '{self.header.name}' "
                f"of every photo of {' and '.join(sides)}, not {count or 'one'}: run {way_out} "
                "again, it makes those that are missing"
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
            indices: Places in the manifest, of photos that have views where the view is not 0.
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
        digests, rows = self._done()
        viewed = np.concatenate([self._cache.indices(side) for side in self._sides])
        wanted = pack_digests(self._cache.manifest.take(viewed).column("sha256"))
        most = int(rows[:, _VIEW].max(initial=0))
        places = np.full((len(self._cache.manifest.photos), 1 + most, 2), _NOWHERE, dtype=np.intp)
        complete = []
        for view in range(1, 1 + most):
            mine = np.flatnonzero(rows[:, _VIEW] == view)
            found = find_digests(wanted, digests[mine])
            places[viewed[found >= 0], view] = rows[mine[found[found >= 0]], :_VIEW]
            complete.append(bool((found >= 0).all()))
        return places, [*complete, False].index(False)

    def _done(self) -> tuple[Digests, npt.NDArray[np.intp]]:
        """Digests of the photos that views were made of; job, row and view, ``(N, 3)``.

        Job and row are nowhere where a view could not be made.
        """
        digests = [pack_digests(())]
        places = array("q")
        for number, rows, state in self._jobs.done():
            kept = [row for row in range(len(rows)) if row not in state.gone]
            digests.append(pack_digests([rows[row].sha256 for row in kept]))
            for row in kept:
                failed = row in state.failed
                place = (_NOWHERE, _NOWHERE) if failed else (number, row)
                places.extend((*place, rows[row].view))
        return np.concatenate(digests), np.array(places, dtype=np.intp).reshape(-1, 3)
