"""Which class is the healthy one of a class's crop, read off names."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEALTHY = re.compile(r"(?<![a-z])(healthy|sound|normal|no[ _-]?disease)(?![a-z])", re.IGNORECASE)


def healthy_partner(class_names: Sequence[str]) -> list[int]:
    """Finds the healthy class of each class's crop.

    ``Potato___Late_blight`` belongs to ``Potato___healthy``; where there is one healthy class and
    it names no crop, it is everyone's.

    Returns:
        By class, the index of its healthy class (its own for a healthy class), or
        ``len(class_names)`` where there is none.
    """
    healthy = {
        _HEALTHY.sub("", name).strip(" _-/.").lower(): index
        for index, name in enumerate(class_names)
        if _HEALTHY.search(name)
    }
    partners = []
    for index, name in enumerate(class_names):
        crops = [crop for crop in healthy if name.lower().startswith(crop)]
        best = max(crops, key=len, default=None)
        own = index in healthy.values()
        partners.append(index if own else len(class_names) if best is None else healthy[best])
    return partners
