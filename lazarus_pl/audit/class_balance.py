"""How many photos each class has, and what that means for training."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lazarus_pl.audit.audit_data import AuditData

# of the effective number of samples; the task's class_weights 'effective' uses the same
_BETA = 0.999


def class_balance(data: AuditData) -> dict[str, Any]:
    """Counts, shares, imbalance and suggested class weights.

    The effective number of samples of a class is ``(1 - b**n) / (1 - b)`` with b = 0.999 (Cui et
    al. 2019, arXiv:1901.05555); suggested weights are its inverse, with mean 1 over photos.

    Returns:
        ``total``, ``number``, ``imbalance`` (largest to smallest class) and ``by_class``.
    """
    counts = Counter(photo.label for photo in data.photos)
    sides = Counter((photo.label, photo.split) for photo in data.photos)
    total = sum(counts.values())
    effective = {name: (1 - _BETA**count) / (1 - _BETA) for name, count in counts.items()}
    mean = sum(counts[name] / effective[name] for name in counts) / max(total, 1)
    return {
        "total": total,
        "number": len(counts),
        "imbalance": max(counts.values()) / min(counts.values()) if counts else 1.0,
        "by_class": {
            name: {
                "photos": counts[name],
                "share": counts[name] / total,
                "effective_samples": effective[name],
                "suggested_weight": 1 / effective[name] / mean,
                **{side: sides[name, side] for side in ("train", "val", "test", "unused")},
            }
            for name in sorted(counts)
        },
    }
