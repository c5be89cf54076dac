"""What a tick costs Blender's main thread, whatever the sidecar does.

The servers are processes of their own, those of `tests/server/test_client_steps.py` among them. A tick's time is what
the clock says less what the kernel says it stood ready without a processor: that is a busy machine's doing, no wait of
ours. So these figures are the same beside busy neighbours.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import ROOT, module
from sidecar_steps import started, tick_until

if sys.platform == "win32":
    pytest.skip("a process is frozen by a signal", allow_module_level=True)

SCHEDULED = Path("/proc/thread-self/schedstat")  # Linux: nanoseconds on a processor, and ready but without one

TOKEN = "s3cret-token-0123456789"
IDLE_SECONDS = 0.002
WORK_SECONDS = 0.008  # most work of a tick
CLOCK_SECONDS = 0.05  # most time of a tick that waited for anything
TRIES = 3
SIZE = 64 << 20  # of the large download
CASES = (
    "silent",
    "slow",
    "reset",
    "flood of garbage",
    "flood of header fields",
    "flood of body",
    "flood of tiny chunks",
)

pytestmark = pytest.mark.timed


def stood_ready() -> float:
    """Seconds that this thread has been ready to run and had no processor; 0 where the system does not tell."""
    try:
        return int(SCHEDULED.read_text().split()[1]) * 1e-9
    except OSError:
        return 0.0


def ticks(seconds: float) -> tuple[list[float], list[float]]:
    """Durations of the ticks of some seconds, and their work in processor time; as often as Blender asks for them."""
    tick, times, work = module("sidecar").tick, [], []
    gc.collect()
    gc.freeze()  # what the test runner keeps is not ours to walk through
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ready, before, used = stood_ready(), time.perf_counter(), time.thread_time()
        pause = tick()
        worked, by_clock = time.thread_time() - used, time.perf_counter() - before
        times.append(max(by_clock - (stood_ready() - ready), worked))
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
    return f"{len(times)} ticks, median {median:.2f} ms, worst {worst:.2f} ms, {worked:.2f} ms of work"


def measured(seconds: float, begin: Callable[[], object] = lambda: None) -> tuple[list[float], list[float]]:
    """Ticks of some seconds after `begin`; the best of a few tries, for even work takes longer beside other work."""
    for _ in range(TRIES):
        begin()
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
    tick_until(lambda: now.state == "lost", what="the loss")


def test_thousands_of_jobs_hold_nothing_up(own_sidecar: Any, library_python: str) -> None:
    with serving(library_python, str(Path(__file__).with_name("many_jobs_server.py"))) as address:
        now = module("sidecar").connection()
        loading, works = measured(1.5, lambda: connect(address))
        assert within_budget(loading, works), said(loading, works)
        tick_until(lambda: len(now.jobs) == 3000, what="the list")
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
    (tmp_path / "clip").write_bytes(os.urandom(SIZE))
    begun, ended = [], []

    with serving(library_python, steps, "large download") as there, serving(library_python, steps, "upload") as here:

        def begin() -> None:
            tick_until(lambda: len(ended) == len(begun), what="the ends of an earlier try")
            for _ in range(2):
                begun.append(client.Download(client.Server(there, TOKEN), "/v1/a", tmp_path / f"out{len(begun)}"))
            begun.append(client.Upload(client.Server(here, TOKEN), f"u{len(begun)}", tmp_path / "clip"))
            for task in begun[-3:]:
                sidecar.start(task, on_end=ended.append)

        times, work = measured(1.5, begin)
        tick_until(lambda: len(ended) == len(begun), what="the ends")
    assert [task.error for task in ended] == [None] * len(begun)
    assert within_budget(times, work), said(times, work)
    assert (tmp_path / "out1").stat().st_size == SIZE
