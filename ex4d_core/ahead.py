"""Work in threads beside the one that waits, so that a cancel is noticed at once however long a step takes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import TypeVar

from ex4d_core.progress import Cancelled, stop_if

_POLL_SECONDS = 0.1
"""How often a waiting thread asks whether it should stop."""

_T = TypeVar("_T")


def in_order(
    make: Callable[[int, Cancelled], _T], total: int, workers: int, cancelled: Cancelled, name: str
) -> Generator[_T]:
    """Make results in a few threads, a few ahead of the one handed out, and hand them out in order.

    A cancel, an error or closing the generator ends it without waiting for the steps that threads are in: what they
    make is dropped. They write nothing, so nobody notices.

    Args:
        make: makes the result of an index, 0 to total - 1. It gets a `Cancelled` of its own to ask between its
            steps: True once nobody wants the result.
        total: how many.
        workers: threads.
        cancelled: asked ten times a second, only in the thread that waits.
        name: of the threads, for debuggers.

    Raises:
        CancelledError: `cancelled` said so.
    """
    unwanted = threading.Event()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    waiting: deque[Future[_T]] = deque()
    try:
        submitted = 0
        for index in range(total):
            while submitted < min(total, index + workers + 1):
                waiting.append(pool.submit(make, submitted, unwanted.is_set))
                submitted += 1
            stop_if(cancelled)
            while not wait([waiting[0]], timeout=_POLL_SECONDS).done:
                stop_if(cancelled)
            yield waiting.popleft().result()
    finally:
        unwanted.set()
        pool.shutdown(wait=False, cancel_futures=True)


def beside(work: Callable[[Cancelled], _T], cancelled: Cancelled, name: str) -> _T:
    """Do one long piece of work that does not ask often enough itself; see `in_order`.

    Raises:
        CancelledError: `cancelled` said so.
    """
    # closed here: a Ctrl-C that arrives while Python itself clears a generator away is lost
    with closing(in_order(lambda _, unwanted: work(unwanted), 1, 1, cancelled, name)) as made:
        return next(made)
