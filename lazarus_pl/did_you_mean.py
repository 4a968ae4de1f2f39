"""What a word that is not known may have been meant for."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], most: int = 1, alike: float = 0.6) -> str:
    """``, did you mean 'this' or 'that'?``; empty if none is near. See :func:`nearest`."""
    near = nearest(word, known, most, alike)
    return f", did you mean {' or '.join(map(repr, near))}?" if near else ""


def nearest(word: str, known: Iterable[str], most: int = 1, alike: float = 0.6) -> list[str]:
    """Known words that one may have been meant for, the likeliest first.

    Args:
        word: Whatever the case of its letters. What it alone can be the beginning of comes first.
        known: Words to choose from.
        most: Most words to give.
        alike: How near they must be, 0 to 1, as difflib measures it.
    """
    by_lower = {name.lower(): name for name in known}
    begun = [name for name in by_lower if name.startswith(word.lower())]
    near = get_close_matches(word.lower(), by_lower, n=most, cutoff=alike)
    likely = dict.fromkeys([*begun, *near] if len(begun) == 1 else near)
    return [by_lower[name] for name in likely][:most]
