"""What a word that is not known may have been meant for."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """``, did you mean 'this' or 'that'?``, whatever the case of letters; empty if none is near."""
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_lower, n=most)
    return f", did you mean {' or '.join(repr(by_lower[name]) for name in near)}?" if near else ""
