"""Which class is the healthy one of a class's crop, read off names."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORDS = re.compile(r"[^\W_]+")
_INNER_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])")
_HEALTHY = frozenset({"healthy", "sound", "normal"})
_NOT = frozenset({"not", "non", "no"})
_WITHOUT_DISEASE = frozenset({("no", "disease"), ("disease", "free")})
# what a healthy class may say of itself beside its crop
_PLANT = frozenset({"leaf", "leaves", "plant", "plants", "disease", "free", "no"})
# between crop and disease, in PlantVillage and in folders
_BORDERS = ("___", "/")


def healthy_partner(class_names: Sequence[str]) -> list[int]:
    """Finds the healthy class of each class's crop.

    A class is healthy whose name has the word ``healthy``, ``sound`` or ``normal``, not after a
    ``not`` or ``non``, or says ``no disease``. ``Potato___Late_blight`` and ``Blight of potato``
    belong to ``Potato___healthy``, whose other words they have too; a healthy class that names no
    crop is everyone's. So is the only one where no class is named by ``crop___disease`` or
    ``crop/disease``, and none but the healthy one names a crop.

    Returns:
        By class, the index of its healthy class (its own for a healthy class), or
        ``len(class_names)`` where there is none.
    """
    words = [_words(name) for name in class_names]
    crops = {
        index: frozenset(mine) - _HEALTHY - _PLANT
        for index, mine in enumerate(words)
        if _is_healthy(mine)
    }
    otherwise = len(class_names)
    if len(crops) == 1 and not any(border in name for name in class_names for border in _BORDERS):
        (only, crop) = next(iter(crops.items()))
        if not any(crop & set(mine) for index, mine in enumerate(words) if index != only):
            otherwise = only
    return [
        index if index in crops else _partner(set(mine), crops, otherwise)
        for index, mine in enumerate(words)
    ]


def _words(name: str) -> list[str]:
    return _WORDS.findall(_INNER_BORDER.sub(" ", name).lower())


def _is_healthy(words: Sequence[str]) -> bool:
    before = ["", *words]
    pairs = list(zip(before, words, strict=False))
    healthy = any(word in _HEALTHY and earlier not in _NOT for earlier, word in pairs)
    return healthy or not _WITHOUT_DISEASE.isdisjoint(pairs)


def _partner(words: set[str], crops: dict[int, frozenset[str]], otherwise: int) -> int:
    """The first of those that name the most of what the class names."""
    fitting = [index for index, crop in crops.items() if crop <= words]
    return max(fitting, key=lambda index: len(crops[index]), default=otherwise)
