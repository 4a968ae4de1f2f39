from __future__ import annotations

from collections.abc import Iterator

import pytest

from lazarus_pl import progress as progress_module
from lazarus_pl.progress import Progress, show_beside


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time, to be set."""
    time = [0.0]
    with monkeypatch.context() as patch:
        patch.setattr(progress_module.time, "monotonic", lambda: time[0])
        yield time


def test_lines_of_a_log(capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
    with Progress("training", 9, "runs") as progress:
        progress.advance(0, note="too soon for a line")
        now[0] = 11
        progress.advance(0, note="6 runs together")
        now[0] = 20
        progress.advance(3)
        now[0] = 30
        with show_beside(lambda: "3 min left of all"):
            progress.advance(3, note="done")
    assert capsys.readouterr().err.splitlines() == [
        # how long it will take is not known before something is done
        "training: 0/9 runs 6 runs together",
        "training: 6/9 runs, 10 s left done (3 min left of all)",
    ]


def test_the_first_step_carries_the_start_and_says_nothing_of_the_rest(
    capsys: pytest.CaptureFixture[str], now: list[float]
) -> None:
    with Progress("extracting", 324, "views") as progress:
        now[0] = 13
        progress.advance()
        # of the same batch
        now[0] = 13.01
        progress.advance(7)
        now[0] = 23.5
        progress.advance(3)
    assert capsys.readouterr().err.splitlines() == [
        "extracting: 1/324 views",
        "extracting: 11/324 views, 5.5 min left",
    ]


def test_steps_that_come_at_once_say_nothing_of_the_rest(
    capsys: pytest.CaptureFixture[str], now: list[float]
) -> None:
    with Progress("extracting", 324, "views") as progress:
        now[0] = 9.99
        progress.advance()
        now[0] = 10
        progress.advance(7)
    assert capsys.readouterr().err.splitlines() == ["extracting: 8/324 views"]


def test_steps_may_differ_in_what_they_take(
    capsys: pytest.CaptureFixture[str], now: list[float]
) -> None:
    with Progress("training", 9, "runs") as progress:
        # done by an earlier call, of which the shares know nothing
        progress.advance(3)
        now[0] = 5
        progress.advance(0, share=0.1)
        now[0] = 20
        progress.advance(3, share=0.2)
    assert capsys.readouterr().err.splitlines() == ["training: 6/9 runs, 2.0 min left"]
