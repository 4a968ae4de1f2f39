"""A map over threads or processes that keeps order and bounds memory."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# what a process of a pool was given to do
_given: list[Callable[[Any], Any]] = []


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
            for many items whose work holds Python's lock. ``work`` must be picklable, and is sent
            to each process once.
    """
    remaining = iter(items)
    queue: deque[Future[Result]] = deque()
    do: Callable[[Item], Result] = _do if processes else work
    pool = _processes(workers, work) if processes else ThreadPoolExecutor(workers or os.cpu_count())
    try:
        queue.extend(pool.submit(do, item) for item in islice(remaining, ahead))
        while queue:
            result = queue.popleft().result()
            queue.extend(pool.submit(do, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _processes(workers: int | None, work: Callable[[Any], Any]) -> Executor:
    spawn = get_context("spawn")
    return ProcessPoolExecutor(workers or os.cpu_count(), spawn, _begin, (work,))


def _begin(work: Callable[[Any], Any]) -> None:
    """Begins a process: Ctrl-C is the parent's, and so is its end; what works has one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_the_parent, daemon=True).start()
    _given.append(work)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    if cv2 := sys.modules.get("cv2"):
        cv2.setNumThreads(1)


def _end_with_the_parent() -> None:
    """A pool's processes wait for work, and would for ever if the parent is killed."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _do(item: Any) -> Any:  # noqa: ANN401
    return _given[0](item)
