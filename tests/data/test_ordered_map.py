"""Threads and processes that keep an order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.errors import LazarusError

ROOT = Path(__file__).parents[2]

ENDLESS = """
from lazarus_pl.data.ordered_map import ordered_map
from tests.data.test_ordered_map import own_process

if __name__ == "__main__":
    found = ordered_map(own_process, range(10**6), workers=2, processes=True)
    print(len({next(found)[0] for _ in range(64)}), flush=True)
    input()
"""


class Counted:
    """Says how often it was sent to another process."""

    def __init__(self, sent: int = 0) -> None:
        self.sent = sent

    def __reduce__(self) -> tuple[type[Counted], tuple[int]]:
        self.sent += 1
        return Counted, (self.sent,)

    def __call__(self, item: int) -> int:
        return item * 2


def own_process(item: int) -> tuple[int, int, int]:
    import cv2
    import torch

    return os.getpid(), torch.get_num_threads(), cv2.getNumThreads()


def refuse(item: int) -> int:
    if item == 3:
        raise LazarusError(f"{item} cannot be")
    return item


def test_it_keeps_order_and_bounds_what_is_under_way() -> None:
    under_way = peak = 0
    lock = threading.Lock()

    def work(item: int) -> int:
        nonlocal under_way, peak
        with lock:
            under_way += 1
            peak = max(peak, under_way)
        time.sleep(0.001 * (item % 3))
        return item * 2

    for expected, result in enumerate(ordered_map(work, range(60), workers=4, ahead=8)):
        assert result == expected * 2
        with lock:
            under_way -= 1
    assert peak <= 9


def test_it_raises_where_the_result_is_due_and_stops() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        done.append(item)
        return item

    results = ordered_map(work, range(1000), workers=2, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(results)
    assert max(done) < 20


def test_processes_keep_order_and_are_sent_their_work_once_each() -> None:
    work = Counted()
    found = list(ordered_map(work, range(40), workers=2, processes=True))
    assert found == [2 * item for item in range(40)]
    assert 1 <= work.sent <= 2


def test_processes_raise_where_the_result_is_due() -> None:
    results = ordered_map(refuse, range(1000), workers=1, ahead=4, processes=True)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LazarusError, match="3 cannot be"):
        next(results)


class Unreadable(Counted):
    """Cannot be taken up by another process."""

    def __reduce__(self) -> Any:  # noqa: ANN401
        return refuse, (3,)


def test_what_hinders_a_process_is_told_where_a_result_is_due() -> None:
    results = ordered_map(Unreadable(), range(9), workers=2, processes=True)
    with pytest.raises(LazarusError, match="3 cannot be"):
        next(results)


def leave(item: int) -> None:
    os._exit(9)


def test_a_process_that_is_ended_is_a_sentence() -> None:
    results = ordered_map(leave, range(9), workers=1, processes=True)
    with pytest.raises(LazarusError, match="was ended, perhaps for want of memory"):
        next(results)


def test_processes_have_one_core_each() -> None:
    # loads torch and OpenCV with the work, as the modules that do it have them
    work = OneCore()
    assert {seen[1:] for seen in ordered_map(work, range(4), workers=1, processes=True)} == {(1, 1)}


class OneCore:
    """Needs torch and OpenCV from the start."""

    def __call__(self, item: int) -> tuple[int, int, int]:
        return own_process(item)

    def __setstate__(self, state: dict[str, object]) -> None:
        own_process(0)

    def __getstate__(self) -> dict[str, object]:
        return {"loads": "torch"}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    assert int(parent.stdout.readline()) >= 1
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.send_signal(signal.SIGKILL)
    # not communicate: children hold the pipe too
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    for child in alive:
        child.kill()
    assert not alive
