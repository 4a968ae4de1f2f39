"""Where photos stand in the order in which they were taken, and which were taken in one go."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_pl.data.photo import Photo
from lazarus_pl.data.place import Place
from lazarus_pl.data.shooting_sessions import shooting_sessions

PHOTO = Photo("rust/x.jpg", "rust", 1000, "0" * 64, 256, 256, "0" * 16, 0)


def _numbered(*numbers: float) -> list[Place]:
    return [Place("rust/IMG", number, "photos") for number in numbers]


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("IMG_0303", "", ("rust/IMG", 303, "photos")),
        ("IMG_0303", "2021:05:03 12:15:30", ("rust/IMG", 303, "photos")),
        ("IMG_20210503_121530", "", ("rust/IMG", 1620044130, "seconds")),
        ("1620044130", "", ("rust/", 1620044130, "seconds")),
        ("mmexport1620044130500", "", ("rust/mmexport", 1620044130.5, "seconds")),
        # no month has 99 days: digits as any others
        ("IMG_20210599_121530", "", ("rust/IMG", 20210599121530, "photos")),
        ("leaf", "2021:05:03 12:15:30", ("rust/taken", 1620044130, "seconds")),
    ],
)
def test_the_place_of_a_photo(name: str, taken: str, expected: tuple[str, float, str]) -> None:
    assert Place.of(replace(PHOTO, path=f"rust/{name}.jpg"), taken) == expected


def test_time_goes_before_a_number_where_it_is_asked_for() -> None:
    numbered = replace(PHOTO, path="rust/IMG_0303.jpg")
    assert Place.in_time(numbered, "2021:05:03 12:15:30") == ("rust/IMG", 1620044130, "seconds")
    assert Place.in_time(numbered) is None


def test_a_photo_without_number_and_time_has_no_place() -> None:
    assert Place.of(replace(PHOTO, path="rust/leaf.jpg")) is None
    assert Place.of(replace(PHOTO, path="rust/leaf.jpg"), "yesterday") is None


def test_a_gap_of_more_than_thirty_numbers_ends_a_session() -> None:
    assert shooting_sessions(_numbered(70, 1, 40, 10)) == [[1, 3, 2, 0]]
    assert shooting_sessions(_numbered(71, 1, 40, 10)) == [[1, 3, 2], [0]]


def test_a_night_ends_a_session_and_a_lunch_does_not() -> None:
    hours = (9, 11, 13, 18, 33)
    places = [Place("rust/taken", 3600.0 * hour, "seconds") for hour in hours]
    assert shooting_sessions(places) == [[0, 1, 2, 3], [4]]


def test_classes_photographers_and_units_have_sessions_of_their_own() -> None:
    places = [
        Place("rust/IMG", 5, "photos"),
        Place("rust/DSC", 5, "photos"),
        None,
        Place("healthy/IMG", 5, "photos"),
        Place("rust/IMG", 5, "seconds"),
    ]
    assert sorted(shooting_sessions(places)) == [[0], [1], [3], [4]]


@given(st.lists(st.integers(0, 400), max_size=40))
def test_every_placed_photo_is_in_one_session(numbers: list[int]) -> None:
    sessions = shooting_sessions(_numbered(*numbers))
    assert sorted(photo for session in sessions for photo in session) == list(range(len(numbers)))
    taken = [np.array([numbers[photo] for photo in session]) for session in sessions]
    assert all(
        (np.diff(session) <= 30).all() and (np.diff(session) >= 0).all() for session in taken
    )
    assert all(b[0] - a[-1] > 30 for a, b in pairwise(taken))
