"""A map over threads that keeps order and bounds memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    ahead: int = 64,
) -> Generator[Result, None, None]:
    """Yields ``work(item)`` in order while threads are at most ``ahead`` items further.

    Items are drawn lazily, in the consumer's thread. Closing the iterator cancels what has not
    begun.

    Args:
        work: Called in a worker thread; what it raises is raised where its result is due.
        items: Any iterable.
        workers: Threads; by default one a core.
        ahead: Results that may wait or be under way.
    """
    remaining = iter(items)
    queue: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        queue.extend(pool.submit(work, item) for item in islice(remaining, ahead))
        while queue:
            result = queue.popleft().result()
            queue.extend(pool.submit(work, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
