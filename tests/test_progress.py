from __future__ import annotations

import pytest

from lazarus_pl import progress as progress_module
from lazarus_pl.progress import Progress, show_beside


def test_lines_of_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    with Progress("training", 9, "runs") as progress:
        progress.advance(0, note="too soon for a line")
        now[0] = 11
        progress.advance(0, note="6 runs together")
        now[0] = 30
        with show_beside(lambda: "3 min left of all"):
            progress.advance(6, note="done")
    assert capsys.readouterr().err.splitlines() == [
        # how long it will take is not known before something is done
        "training: 0/9 runs 6 runs together",
        "training: 6/9 runs, 15 s left done (3 min left of all)",
    ]
    monkeypatch.undo()


def test_steps_may_differ_in_what_they_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    with Progress("training", 9, "runs") as progress:
        now[0] = 20
        progress.advance(6, share=0.2)
    assert capsys.readouterr().err.splitlines() == ["training: 6/9 runs, 80 s left"]
    monkeypatch.undo()
