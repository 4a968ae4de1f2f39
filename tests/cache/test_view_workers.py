from __future__ import annotations

import pytest

from lazarus_pl.cache import view_workers
from lazarus_pl.cache.view_workers import ViewWorkers


@pytest.mark.parametrize(
    ("cores", "views", "count", "processes"),
    [
        (2, 100_000, 2, False),
        (4, 100_000, 4, True),
        (16, 100_000, 6, True),
        (16, 500, 4, False),
    ],
)
def test_processes_are_for_many_views_on_many_cores(
    cores: int, views: int, count: int, processes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_workers, "usable_cores", lambda: cores)
    assert ViewWorkers.of(views) == ViewWorkers(count, processes)


def test_more_threads_than_two_do_not_make_views_sooner() -> None:
    one, two, four = (ViewWorkers(count, False).seconds(100, 0.02) for count in (1, 2, 4))
    assert (one, two, four) == pytest.approx((2.0, 1.0, 1.0))


@pytest.mark.parametrize("cores", [4, 8, 16])
def test_processes_are_asked_for_where_they_are_expected_sooner(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_workers, "usable_cores", lambda: cores)
    many = ViewWorkers.of(10_000)
    assert many.processes
    assert many.seconds(10_000, 0.02) < ViewWorkers(4, False).seconds(10_000, 0.02)
