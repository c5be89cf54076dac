"""Work done in other processes, its results handed out in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from traceback import format_exc
from typing import Any, Generic, TypeVar

from ex4d_core.ahead import in_order
from ex4d_core.errors import Ex4dError
from ex4d_core.progress import never_cancelled

_Job = TypeVar("_Job")
_T = TypeVar("_T")


def in_processes(work: Callable[[_Job], _T], jobs: Sequence[_Job], workers: int) -> Generator[_T]:
    """Do jobs in processes of their own, a few ahead, and hand the results out in the order of the jobs.

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
    with _team(work, min(workers, len(jobs))) as team:
        idle: SimpleQueue[_Worker[_Job, _T]] = SimpleQueue()
        for worker in team:
            idle.put(worker)

        def do(number: int, _: object) -> _T:
            worker = idle.get()
            try:
                return worker.do(jobs[number])
            except _EndedError as error:
                for each in team:  # the others' results are not worth the wait
                    each.process.kill()
                raise Ex4dError(
                    "A process that makes clips was ended from outside, as a rule because the memory ran out: give "
                    "fewer --workers, and run the same command again to go on."
                ) from error
            finally:
                idle.put(worker)

        with closing(in_order(do, len(jobs), workers, never_cancelled, "await process")) as results:
            yield from results


class _EndedError(Exception):
    """A process is no more."""


@dataclass(frozen=True)
class _Worker(Generic[_Job, _T]):
    """A process, and a pipe to it that no other shares: where it dies while it writes, whoever reads is told. (With
    `concurrent.futures.ProcessPoolExecutor`, half an answer holds up both the reader and the end of the program.)"""

    process: SpawnProcess
    pipe: Connection

    def do(self, job: _Job) -> _T:
        """Have it do a job.

        Raises:
            _EndedError: it is no more; and whatever the work raises.
        """
        try:
            self.pipe.send(job)
            result, error = self.pipe.recv()
        except (EOFError, OSError) as gone:
            raise _EndedError from gone
        if error is not None:
            raise error
        return result


@contextmanager
def _team(work: Callable[[Any], Any], workers: int) -> Generator[list[_Worker[Any, Any]]]:
    """Processes that wait for jobs, and are killed when they are not needed any more."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with CUDA or threads is none that works
    team: list[_Worker[Any, Any]] = []
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            with theirs:
                process = context.Process(target=_serve, args=(work, theirs), daemon=True)
                with _interrupts_held():
                    process.start()
            team.append(_Worker(process, ours))
        yield team
    finally:
        for worker in team:
            worker.process.kill()
        for worker in team:
            worker.process.join()


@contextmanager
def _interrupts_held() -> Generator[None]:
    """Ctrl-C goes to all processes, and the parent's is enough: it waits meanwhile, and one that begins here does not
    hear of it, not even while it still imports what it needs.
    """
    if sys.platform == "win32":  # which has no such masks
        yield
        return
    resource_tracker.ensure_running()  # else the first process starts it, and that ends the hold
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    """Do jobs until nobody sends any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for Windows
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):
        while True:
            job = pipe.recv()
            try:
                answer = ForkingPickler.dumps((work(job), None))
            except Exception as error:
                error.add_note(f"In a process of its own:\n{format_exc()}")
                answer = ForkingPickler.dumps((None, error))
            pipe.send_bytes(answer)
            del job, answer  # large, maybe, as the next will be


def _end_with_parent() -> None:
    """However the parent ends, and whatever is being worked on."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
