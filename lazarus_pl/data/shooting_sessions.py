"""Which photos were taken in one go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lazarus_pl.data.place import Place

# the longest pause within a session: photos of something else, or of nothing
_PAUSE = {"photos": 30.0, "seconds": 6 * 3600.0}


def shooting_sessions(places: Sequence[Place | None]) -> list[list[int]]:
    """Divides photos into sessions: stretches of one sequence without a long pause.

    A pause is long if more than 30 camera numbers or six hours pass without a photo.

    Args:
        places: Of each photo; photos without one belong to no session.

    Returns:
        Indices of the photos of each session in the order in which they were taken, the sessions
        in the order of their sequences and numbers.
    """
    sequences: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for index, place in enumerate(places):
        if place is not None:
            sequences[place.sequence, place.unit].append((place.number, index))
    sessions: list[list[int]] = []
    for (_, unit), taken in sorted(sequences.items()):
        before = float("-inf")
        for number, index in sorted(taken):
            if number - before > _PAUSE[unit]:
                sessions.append([])
            sessions[-1].append(index)
            before = number
    return sessions
