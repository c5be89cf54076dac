"""What a tick costs Blender's main thread, whatever the sidecar does.

The servers are processes of their own, those of `tests/server/test_client_steps.py` among them. By the clock counts a
tick that gave up the processor by itself, as whatever waits does; one that lost it to other processes of a busy machine
did not wait: its time is its work.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import ROOT, module
from sidecar_steps import started, tick_until

resource = pytest.importorskip("resource")  # no such thing on Windows

TOKEN = "s3cret-token-0123456789"
IDLE_SECONDS = 0.002
WORK_SECONDS = 0.012  # most work of a tick; the aim of 0.008 with slack for a busy machine
CLOCK_SECONDS = 0.05  # most time by the clock of a tick that waited for anything
TRIES = 3
CASES = (
    "silent",
    "slow",
    "reset",
    "flood of garbage",
    "flood of header fields",
    "flood of body",
    "flood of tiny chunks",
)


def waits() -> int:
    """How often this thread has given up the processor to wait for something."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def ticks(seconds: float) -> tuple[list[float], list[float]]:
    """Durations of the ticks of some seconds, by the clock and in processor time; as often as Blender asks for them."""
    tick, times, work = module("sidecar").tick, [], []
    gc.collect()
    gc.freeze()  # what the test runner keeps is not ours to walk through
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before_waits, before, used = waits(), time.perf_counter(), time.thread_time()
        pause = tick()
        by_clock, worked = time.perf_counter() - before, time.thread_time() - used
        times.append(by_clock if waits() != before_waits else worked)
        work.append(worked)
        time.sleep(min(pause, 0.05))
    gc.unfreeze()
    return times, work


def within_budget(times: list[float], work: list[float]) -> bool:
    """Whether no tick held Blender up."""
    return max(times) < CLOCK_SECONDS and max(work) < WORK_SECONDS


def said(times: list[float], work: list[float]) -> str:
    """The figures of a measurement."""
    median, worst, worked = (1000 * value for value in (statistics.median(times), max(times), max(work)))
    return f"{len(times)} ticks, median {median:.2f} ms, worst {worst:.2f} ms by the clock, {worked:.2f} ms of work"


def measured(seconds: float) -> tuple[list[float], list[float]]:
    """Ticks of some seconds; the best of a few tries, for a machine may be busy with other things."""
    for _ in range(TRIES):
        times, work = ticks(seconds)
        if within_budget(times, work):
            break
    print(said(times, work))
    return times, work


@contextlib.contextmanager
def serving(python: str, *command: str) -> Iterator[str]:
    """A script that prints its port and serves; its address."""
    path = os.pathsep.join([str(ROOT / "tests/server"), str(ROOT / "server"), str(ROOT)])
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONHOME"} | {"PYTHONPATH": path}
    with subprocess.Popen([python, *command], stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def connect(address: str) -> Any:
    """Follow whatever serves there."""
    now = module("sidecar").connection()
    now.connect(module("client").Server(address, TOKEN))
    return now


@pytest.mark.parametrize("case", CASES)
def test_a_bad_server_holds_nothing_up(own_sidecar: Any, library_python: str, case: str) -> None:
    with serving(library_python, str(ROOT / "tests/server/test_client_steps.py"), case) as address:
        now = connect(address)
        times, work = measured(1.0)
        assert within_budget(times, work), said(times, work)
        assert now.state != "ready"
        if case in ("silent", "slow", "reset"):
            assert statistics.median(times) < IDLE_SECONDS, said(times, work)


def test_no_server_holds_nothing_up(own_sidecar: Any) -> None:
    times, work = measured(3.0)  # looks for one now and then
    assert within_budget(times, work), said(times, work)
    assert statistics.median(times) < IDLE_SECONDS
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        now = connect(address)  # nobody accepts
        times, work = measured(1.0)
        assert within_budget(times, work), said(times, work)
    now = connect(address)  # and nobody listens
    times, work = measured(1.0)
    assert within_budget(times, work), said(times, work)
    assert now.state == "lost"


def test_thousands_of_jobs_hold_nothing_up(own_sidecar: Any, library_python: str) -> None:
    with serving(library_python, str(Path(__file__).with_name("many_jobs_server.py"))) as address:
        now = connect(address)
        loading, works = ticks(1.5)
        tick_until(lambda: len(now.jobs) == 3000, what="the list")
        assert within_budget(loading, works), said(loading, works)
        times, work = measured(2.0)
        assert within_budget(times, work), said(times, work)
        assert statistics.median(times) < IDLE_SECONDS, said(times, work)
        assert now.jobs[0].number == 3000


def test_a_real_sidecar_idle_frozen_and_gone(own_sidecar: Any) -> None:
    now = started()
    for what in ("idle", "frozen", "gone"):
        if what == "frozen":
            os.kill(now.server.pid, signal.SIGSTOP)
        if what == "gone":
            own_sidecar.executable = "/bin/false"
            now._again = ["/bin/false"], [], Path(bpy.app.tempdir)  # what starts again ends at once
            os.kill(now.server.pid, signal.SIGKILL)
        times, work = measured(2.0)
        assert within_budget(times, work), f"{what}: {said(times, work)}"
        assert statistics.median(times) < IDLE_SECONDS, f"{what}: {said(times, work)}"
    tick_until(lambda: now.state == "failed", what="the end")


def test_transfers_hold_nothing_up(own_sidecar: Any, library_python: str, tmp_path: Path) -> None:
    """Two downloads of 64 MiB and an upload at the same time."""
    client, sidecar, steps = module("client"), module("sidecar"), str(ROOT / "tests/server/test_client_steps.py")
    (tmp_path / "clip").write_bytes(os.urandom(64 << 20))
    with serving(library_python, steps, "large download") as there, serving(library_python, steps, "upload") as here:
        ended: list[Any] = []
        for number in range(2):
            server = client.Server(there, TOKEN)
            sidecar.start(client.Download(server, "/v1/a", tmp_path / f"out{number}"), on_end=ended.append)
        sidecar.start(client.Upload(client.Server(here, TOKEN), "u", tmp_path / "clip"), on_end=ended.append)
        times, work = ticks(1.5)
        tick_until(lambda: len(ended) == 3, what="the ends")
    print(said(times, work))
    assert [task.error for task in ended] == [None] * 3
    assert within_budget(times, work), said(times, work)
    assert (tmp_path / "out1").stat().st_size == 64 << 20
