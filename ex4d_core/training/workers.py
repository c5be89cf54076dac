"""Work done in other processes, its results handed out in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from ex4d_core.errors import Ex4dError

_AHEAD = 1
"""Results beyond one for each worker that may wait to be taken: each may be large."""

_Job = TypeVar("_Job")
_T = TypeVar("_T")


def in_processes(work: Callable[[_Job], _T], jobs: Sequence[_Job], workers: int) -> Generator[_T]:
    """Do jobs in processes of their own, and hand the results out in the order of the jobs.

    Args:
        work: of a module, for it is sent by name; gives the same wherever it runs.
        jobs: can be pickled, as results can.
        workers: how many processes; 0: all in this one.

    Raises:
        Ex4dError: a process died; and whatever `work` raises.
    """
    if not workers:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with CUDA or threads is none that works
    # Not an Event: a worker that is killed while it waits for one holds up whoever sets it, for ever.
    until_closed, wanted = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(min(workers, max(1, len(jobs))), context, _follow_parent, (until_closed,))
    waiting: deque[Future[_T]] = deque()
    try:
        for number in range(len(jobs)):
            submitted = number + len(waiting)
            for job in jobs[submitted : number + workers + _AHEAD]:
                waiting.append(pool.submit(work, job))
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise Ex4dError(
            "A process that makes clips was ended from outside, as a rule because the memory ran out: give fewer "
            "--workers, and run the same command again to go on."
        ) from error
    finally:
        wanted.close()
        pool.shutdown(wait=False, cancel_futures=True)
        until_closed.close()


def _follow_parent(until_closed: Connection) -> None:
    """End when nobody wants the work any more, or the parent ends, however it does: its end of the pipe is closed
    then. (A worker that waits for jobs does so at a pipe that it holds open itself.)"""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all, and the parent's is enough

    def follow() -> None:
        wait([until_closed])  # nothing is ever sent
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
