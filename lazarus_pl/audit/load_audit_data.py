"""From photos, and a cache if there is one, to what an audit looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.survey import Surveyed, survey_photos
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.listing import LabelFrom, check_classes, check_sides, list_photos
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.data.split.assign_splits import assign_splits
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.errors import LazarusError

_FALLBACKS = ("pooled", "grid32", "grid16")


def load_audit_data(
    data: Path,
    out: Path,
    cache: Path | None = None,
    split: SplitSpec | None = None,
    label_from: LabelFrom = "path",
    corrections: Corrections | None = None,
) -> AuditData:
    """Surveys photos and gives them sides and features.

    With a cache its labels, unless they are corrected here, its sides unless others are asked for,
    and its features are taken; photos that it does not hold are left out, with the reason.

    Args:
        data: Folder of class folders, or table.
        out: Where ``survey.csv`` is kept; made if it is not there.
        cache: Feature cache of the same photos.
        split: How photos are divided.
        label_from: How labels are read off folders.
        corrections: Other labels and exclusions than the data's.

    Raises:
        LazarusError: If there is nothing to list, or the cache is unusable or of other photos.
        OSError: If ``survey.csv`` cannot be written.
    """
    features = FeatureCache(cache) if cache else None
    root, listed = list_photos(data, label_from)
    check_sides(listed)
    decided = corrections or Corrections()
    listed, excluded = decided.apply(listed)
    check_classes(data, listed)
    # a mistake is told before the folder is made
    out.mkdir(parents=True, exist_ok=True)
    survey = survey_photos(root, listed, out)
    seen = [item for item in survey.seen if item.photo.label]
    rejected = [*survey.rejected, *excluded]
    rejected += [
        Rejected(item.photo.path, "", "lies in no class folder, so it has no label")
        for item in survey.seen
        if not item.photo.label
    ]
    in_use, settled = _split_in_use(split, features)
    if features is not None:
        seen, absent = _joined(seen, features, data, settled, decided)
        rejected += absent
    problem = ""
    photos = tuple(item.photo for item in seen)
    if not settled:
        try:
            photos = tuple(assign_splits(photos, in_use))
        except LazarusError as error:
            problem = str(error)
            photos = tuple(replace(photo, split="") for photo in photos)
    return AuditData(
        root=root,
        photos=photos,
        measures=tuple(item.measures for item in seen),
        quarantine=tuple(sorted(rejected, key=lambda item: item.path)),
        split=in_use,
        split_problem=problem,
        features=_gather(features, seen) if features is not None else None,
        encoder=features.encoder if features is not None else None,
    )


def _split_in_use(asked: SplitSpec | None, cache: FeatureCache | None) -> tuple[SplitSpec, bool]:
    """The split's settings, and whether the photos have its sides already."""
    if asked is not None:
        return asked, False
    if cache is None:
        return SplitSpec(), False
    settings = dict(cache.header.split)
    if not settings:
        raise LazarusError(
            f"the photos of '{cache.folder}' are being divided, or that was interrupted: run "
            "lazarus extract again"
        )
    settings["fractions"] = tuple(settings["fractions"])
    return SplitSpec(**settings), True


def _joined(
    seen: Sequence[Surveyed],
    cache: FeatureCache,
    data: Path,
    settled: bool,
    corrections: Corrections,
) -> tuple[list[Surveyed], list[Rejected]]:
    """Photos with the cache's labels, and its sides if those are in use; and those not in it."""
    known = {(photo.path, photo.sha256): photo for photo in cache.manifest.photos}
    reasons = {item.path: item.reason for item in cache.manifest.quarantine}
    stay: list[Surveyed] = []
    absent: list[Rejected] = []
    for item in seen:
        photo = known.get((item.photo.path, item.photo.sha256))
        if photo is not None:
            label = corrections.labels.get(photo.path, photo.label)
            ours = replace(photo if settled else item.photo, label=label)
            stay.append(Surveyed(ours, item.measures))
            continue
        reason = reasons.get(item.photo.path, "has no features in the cache: extract again")
        absent.append(Rejected(item.photo.path, item.photo.label, reason))
    if not stay:
        raise LazarusError(
            f"the cache '{cache.folder}' holds no photo of '{data}': it was made from "
            f"'{cache.header.data}'; audit that, or give its cache"
        )
    return stay, absent


def _gather(cache: FeatureCache, seen: Sequence[Surveyed]) -> npt.NDArray[np.float16]:
    """Pooled features, or the mean over the coarsest grid where those are not kept."""
    places = {path: place for place, path in enumerate(cache.manifest.column("path"))}
    indices = np.array([places[item.photo.path] for item in seen], dtype=np.intp)
    layer = next(name for name in _FALLBACKS if name in cache.feature_shapes)
    if layer == "pooled":
        return cache.gather(layer, indices)
    chunks = np.array_split(indices, max(1, len(indices) // 256))
    means = [cache.gather(layer, chunk).mean(axis=(1, 2), dtype=np.float32) for chunk in chunks]
    return np.concatenate(means).astype(np.float16)
