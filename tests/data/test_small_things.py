from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.ordered_map import ordered_map


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(TypeError), replace_file(path) as file:
        file.writelines([b"half", "text"])  # type: ignore[list-item]
    assert path.read_text() == "before"
    with replace_file(path) as file:
        file.write(b"after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_ordered_map_keeps_order_and_bounds_what_is_under_way() -> None:
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


def test_ordered_map_raises_where_the_result_is_due_and_stops() -> None:
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
