"""All that an audit looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.audit.measures import Measures
from lazarus_pl.audit.quick_head import Places, quick_probabilities
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.place import Place
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.data.split.split_spec import SplitSpec


@dataclass(frozen=True)
class AuditData:
    """Photos, what was measured of them, and their features if there are any.

    Attributes:
        root: What the photos' paths are relative to.
        photos: Usable photos with labels; their sides and groups are filled in if they can be.
        measures: Of each photo.
        quarantine: Unusable files.
        split: How the photos were divided.
        split_problem: Why they could not be, or nothing.
        features: float16 ``(photos, C)`` of a frozen encoder, or None without a cache.
        encoder: The identity of that encoder.
    """

    root: Path
    photos: tuple[Photo, ...]
    measures: tuple[Measures, ...]
    quarantine: tuple[Rejected, ...]
    split: SplitSpec
    split_problem: str = ""
    features: npt.NDArray[np.float16] | None = None
    encoder: Mapping[str, Any] | None = None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(sorted({photo.label for photo in self.photos}))

    @cached_property
    def labels(self) -> npt.NDArray[np.intp]:
        """Class index of each photo."""
        index = {name: number for number, name in enumerate(self.class_names)}
        return np.array([index[photo.label] for photo in self.photos], dtype=np.intp)

    @cached_property
    def sides(self) -> npt.NDArray[np.str_]:
        """``train``, ``val``, ``test`` or ``unused`` of each photo; empty without a split."""
        return np.array([photo.split for photo in self.photos], dtype=np.str_)

    @cached_property
    def places(self) -> tuple[Place | None, ...]:
        """Where each photo stands in the order in which photos were taken; None if unknown."""
        return tuple(
            Place.of(photo, measures.taken)
            for photo, measures in zip(self.photos, self.measures, strict=True)
        )

    @cached_property
    def standardised(self) -> npt.NDArray[np.float32]:
        """Features of mean 0 and deviation 1 a channel, ``(photos, C)``.

        Raises:
            ValueError: If there are no features.
        """
        if self.features is None:
            raise ValueError("there are no features")
        values = self.features.astype(np.float32)
        values -= values.mean(axis=0)
        values /= np.maximum(values.std(axis=0), 1e-4)
        return values

    def quick_guesses(self, train: Places, held: Places) -> Places:
        """Class indices that a quick linear head gives photos it has not learnt from.

        Args:
            train: Places that it learns from.
            held: Places that it is asked for.

        Raises:
            ValueError: If there are no features.
        """
        probabilities = quick_probabilities(
            self.standardised, self.labels, train, held, len(self.class_names)
        )
        guesses: Places = probabilities.argmax(axis=1)
        return guesses

    @cached_property
    def directions(self) -> npt.NDArray[np.float32]:
        """Standardised features of length 1: their products are cosines, ``(photos, C)``."""
        lengths = np.linalg.norm(self.standardised, axis=1, keepdims=True)
        directions: npt.NDArray[np.float32] = self.standardised / np.maximum(lengths, 1e-6)
        return directions
