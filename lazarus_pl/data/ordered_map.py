"""A map over threads or processes that keeps order and bounds memory."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.reduction import ForkingPickler
from threading import Thread
from typing import Any, TypeVar

from lazarus_pl.errors import LazarusError
from lazarus_pl.usable_cores import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

# what a process of a pool was given to do
_given: dict[str, Callable[[Any], Any]] = {}


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
        processes: Work in spawned processes instead of threads: seconds to start, worth it for many
            items whose work holds Python's lock. ``work`` must be picklable, and is sent to each
            process once.

    Raises:
        LazarusError: If a process ends before its work is done.
    """
    remaining = iter(items)
    queue: deque[Future[Result]] = deque()
    do: Callable[[Item], Result] = _do if processes else work
    pool = _processes(workers, work) if processes else ThreadPoolExecutor(workers or usable_cores())
    try:
        queue.extend(pool.submit(do, item) for item in islice(remaining, ahead))
        while queue:
            result = queue.popleft().result()
            queue.extend(pool.submit(do, item) for item in islice(remaining, 1))
            yield result
    except BrokenExecutor as error:
        raise LazarusError(
            "a process that this one had begun was ended, perhaps for want of memory: the same "
            "command goes on where it was (a script of your own has to do its work below if "
            '__name__ == "__main__")'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _processes(workers: int | None, work: Callable[[Any], Any]) -> Executor:
    spawn = get_context("spawn")
    # as bytes: a process takes it up when it is ready for Ctrl-C and for errors
    return ProcessPoolExecutor(
        workers or usable_cores(), spawn, _begin, (bytes(ForkingPickler.dumps(work)),)
    )


def _begin(work: bytes) -> None:
    """Begins a process: Ctrl-C is the parent's, and so is its end; what works has one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_the_parent, daemon=True).start()
    _given["work"] = _unpickled(work)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    if cv2 := sys.modules.get("cv2"):
        cv2.setNumThreads(1)


def _end_with_the_parent() -> None:
    """A pool's processes wait for work, and would for ever if the parent is killed."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _unpickled(work: bytes) -> Callable[[Any], Any]:
    try:
        given: Callable[[Any], Any] = ForkingPickler.loads(work)
    # the parent is told of it when it asks for a result
    except Exception as error:
        return partial(_refuse, error)
    return given


def _refuse(error: Exception, _: object) -> None:
    raise error


def _do(item: Any) -> Any:  # noqa: ANN401
    return _given["work"](item)
