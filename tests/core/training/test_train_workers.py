"""Jobs in other processes: their results in order, their errors as ours, and none left behind."""

from __future__ import annotations

import math
import operator
import os
import signal
import sys
import threading
import time
from contextlib import closing
from multiprocessing.connection import Connection

import psutil
import pytest

from ex4d_core.errors import Ex4dError
from ex4d_core.training.workers import in_processes


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    numbers = list(range(12))
    assert list(in_processes(math.factorial, numbers, workers)) == [math.factorial(n) for n in numbers]
    assert list(in_processes(math.factorial, [], workers)) == []


def test_an_error_arrives_as_what_it_was() -> None:
    with pytest.raises(ValueError, match="not defined for negative") as raised:
        list(in_processes(math.factorial, [3, -1, 3], 1))
    assert "workers.py" in raised.value.__notes__[0]  # where it happened, for whoever mends it


def test_a_process_that_is_ended_is_told_with_what_to_do() -> None:
    with pytest.raises(Ex4dError, match="ended from outside.*fewer --workers"):
        list(in_processes(os._exit, [9], 1))


def test_a_worker_that_is_killed_at_work_holds_nobody_up() -> None:
    """As a machine does that is out of memory: long after it began, and with another one beside it."""
    results = in_processes(time.sleep, [0, 300, 300], 2)
    next(results)
    first, *others = _workers()
    first.kill()
    with pytest.raises(Ex4dError, match="ended from outside"):
        next(results)
    _, alive = psutil.wait_procs([first, *others], timeout=20)
    assert others
    assert not alive


def held(_: int) -> bool:
    """Whether a Ctrl-C does not reach the process that asks."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no masks of signals")
def test_workers_never_hear_of_a_ctrl_c_and_we_do_again() -> None:
    assert list(in_processes(held, [0, 1], 2)) == [True, True]
    assert not held(0)


def half_an_answer(_: int) -> bytes:
    """Dies while it hands over what it made."""

    def half(pipe: Connection, answer: memoryview) -> None:
        os.write(pipe.fileno(), len(answer).to_bytes(4, "big") + bytes(answer[: len(answer) // 2]))
        os.kill(os.getpid(), signal.SIGKILL)

    Connection._send_bytes = half  # type: ignore[method-assign]
    return bytes(10_000)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_worker_that_is_killed_half_way_through_its_answer_holds_nobody_up() -> None:
    """Nor the end of the program: an idle thread would be awaited there."""
    with pytest.raises(Ex4dError, match="ended from outside"):
        list(in_processes(half_an_answer, [0], 2))
    deadline = time.monotonic() + 20
    while any(thread.name.startswith("await process") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_cannot_be_sent_is_an_error_that_names_it() -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        list(in_processes(threading.Semaphore, [1], 1))


def _workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "spawn_main" in str(child.cmdline())]


def test_work_that_nobody_wants_any_more_ends() -> None:
    results = in_processes(time.sleep, [0, 300, 300], 2)
    with closing(results):
        assert next(results) is None
        started = _workers()
        assert len(started) >= 2
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


def test_only_a_few_results_wait() -> None:
    """Jobs are sent out as results are taken: each may be large."""
    sent: list[int] = []

    class Jobs(list[int]):
        def __getitem__(self, index: int) -> int:  # type: ignore[override]
            sent.append(index)
            return index

    results = in_processes(operator.neg, Jobs(range(50)), 2)
    with closing(results):
        assert [next(results) for _ in range(4)] == [0, -1, -2, -3]
    assert sorted(sent) == list(range(len(sent)))
    assert len(sent) <= 4 + 2
