"""Formats, sizes and light of the photos, and the worst of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.measures import Measures

_WORST = 12
_UPRIGHT = 1

# beyond these a person, too, sees that something is wrong with the photo
_NEAR_UNIFORM_CONTRAST = 0.03
_DARK, _BRIGHT = 0.12, 0.90
_CLIPPED = 0.5
_BLURRED = 20.0


def file_report(data: AuditData) -> dict[str, Any]:
    """What the files are, and which photos stand out.

    Returns:
        Counts of ``formats``, ``modes``, ``sizes`` and ``orientations``; quantiles of ``aspect``,
        ``brightness``, ``contrast`` and ``sharpness``; and ``flagged``: by kind, the number and the
        worst photos, the worst first.
    """
    measures = data.measures
    sizes = Counter(f"{photo.width}x{photo.height}" for photo in data.photos)
    return {
        "bytes": sum(photo.bytes for photo in data.photos),
        "formats": dict(Counter(m.format for m in measures).most_common()),
        "modes": dict(Counter(m.mode for m in measures).most_common()),
        "sizes": dict(sizes.most_common(10)),
        "different_sizes": len(sizes),
        "rotated_by_exif": sum(m.orientation != _UPRIGHT for m in measures),
        "with_time": sum(bool(m.taken) for m in measures),
        "aspect": _quantiles([photo.width / photo.height for photo in data.photos]),
        "brightness": _quantiles([m.brightness for m in measures]),
        "contrast": _quantiles([m.contrast for m in measures]),
        "sharpness": _quantiles([m.sharpness for m in measures]),
        "flagged": {
            "blurred": _flag(data, lambda m: m.sharpness, lambda m: m.sharpness < _BLURRED),
            "near_uniform": _flag(
                data, lambda m: m.contrast, lambda m: m.contrast < _NEAR_UNIFORM_CONTRAST
            ),
            "dark": _flag(data, lambda m: m.brightness, lambda m: m.brightness < _DARK),
            "bright": _flag(data, lambda m: -m.brightness, lambda m: m.brightness > _BRIGHT),
            "clipped": _flag(data, lambda m: -m.clipped, lambda m: m.clipped > _CLIPPED),
        },
    }


def quarantine_report(data: AuditData) -> dict[str, Any]:
    """Unusable files, counted by reason.

    Returns:
        ``total``, ``by_reason`` and the ``files`` with their reasons.
    """
    return {
        "total": len(data.quarantine),
        "by_reason": dict(Counter(item.reason for item in data.quarantine).most_common()),
        "files": [
            {"path": item.path, "label": item.label, "reason": item.reason}
            for item in data.quarantine
        ],
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    points = (0, 5, 25, 50, 75, 95, 100)
    found = np.percentile(values, points)
    return {f"p{point}": round(float(value), 4) for point, value in zip(points, found, strict=True)}


def _flag(
    data: AuditData, key: Callable[[Measures], float], bad: Callable[[Measures], bool]
) -> dict[str, Any]:
    found = sorted(
        (key(measures), photo.path)
        for photo, measures in zip(data.photos, data.measures, strict=True)
        if bad(measures)
    )
    return {"number": len(found), "worst": [path for _, path in found[:_WORST]]}
