"""A map over threads or processes that keeps order and bounds memory."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    ahead: int = 64,
    processes: bool = False,
) -> Generator[Result, None, None]:
    """Yields ``work(item)`` in order while workers are at most ``ahead`` items further.

    Items are drawn lazily, in the consumer's thread. Closing the iterator cancels what has not
    begun.

    Args:
        work: Called in a worker; what it raises is raised where its result is due.
        items: Any iterable.
        workers: By default one a core.
        ahead: Results that may wait or be under way.
        processes: Work in spawned processes instead of threads: about a second to start, worth it
            for many items whose work holds Python's lock; ``work`` must be picklable.
    """
    remaining = iter(items)
    queue: deque[Future[Result]] = deque()
    pool = _processes(workers) if processes else ThreadPoolExecutor(workers or os.cpu_count())
    try:
        queue.extend(pool.submit(work, item) for item in islice(remaining, ahead))
        while queue:
            result = queue.popleft().result()
            queue.extend(pool.submit(work, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _processes(workers: int | None) -> Executor:
    return ProcessPoolExecutor(
        workers or os.cpu_count(), get_context("spawn"), initializer=_leave_ctrl_c_to_the_parent
    )


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
