"""What happens to a worker happens to one job: the server stays up and says what it was in plain words."""

from __future__ import annotations

import errno
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Running, Start, end, launch, reshoot_request, wait_started
from ex4d_server.client import ClientError
from ex4d_server.worker import Worker
from ex4d_server.worker_process import explain_exit
from job_cases import make_scene, orbit, render_request, reshoot_scene_request, wait_end, wait_for, wait_running

from ex4d_core import sample
from ex4d_core.sample import import_options

pytestmark = [
    pytest.mark.timed,
    pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals to workers"),
]


@pytest.fixture(scope="module")
def scene(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene folder of the tiny clip."""
    return make_scene(tiny_clip, tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def shared(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sidecar with the scene and a warm worker, for tests that each leave it a worker in good health."""
    folder = tmp_path_factory.mktemp("shared")
    running = wait_started(launch(folder / "data", folder / "state"), folder / "data", folder / "state")
    warm_up(running, scene)
    yield running
    end(running)


def warm_up(running: Running, scene: Path) -> Running:
    """Give it the scene, and its worker something to do."""
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    warm = running.client.run("warm", reshoot_scene_request(orbit(scene, 3.0)))
    assert warm["state"] == "succeeded"
    return running


def worker_of(running: Running) -> psutil.Process:
    """The process that does its jobs."""
    (worker,) = wait_for(lambda: psutil.Process(running.process.pid).children())
    return worker


def long_request(scene: Path, yaw: float) -> dict[str, Any]:
    """Some seconds of work, each yaw another."""
    return reshoot_scene_request(orbit(scene, yaw, frames=60))


def log_of(running: Running, job: str) -> str:
    """The log of a job."""
    return running.client.get(f"/v1/jobs/{job}/log").decode()


def test_a_worker_that_dies_once_costs_nothing(shared: Running, scene: Path) -> None:
    for number in (signal.SIGKILL, signal.SIGSEGV):
        job = f"job-{number}"
        shared.client.put(f"/v1/jobs/{job}", long_request(scene, float(number)))
        wait_running(shared, job)
        victim = worker_of(shared)
        victim.send_signal(number)
        assert wait_end(shared, job)["state"] == "succeeded"
        assert f"the worker {explain_exit(-number)}" in log_of(shared, job)
        assert worker_of(shared).pid != victim.pid


def test_a_worker_that_dies_each_time_fails_the_job_alone(shared: Running, scene: Path) -> None:
    shared.client.put("/v1/jobs/doomed", reshoot_scene_request(orbit(scene, 40.0, frames=150)))
    shared.client.put("/v1/jobs/next", render_request(orbit(scene, 41.0)))
    last = 0
    for deaths in range(1, 4):
        last = wait_for(lambda known=last: works_again(shared, "doomed", known), every=0.005)
        worker_of(shared).send_signal(signal.SIGSEGV)
        wait_for(lambda n=deaths: log_of(shared, "doomed").count("the worker crashed") == n)
    wait_end(shared, "doomed")
    job = shared.client.get("/v1/jobs/doomed")
    assert job["state"] == "failed"
    assert job["problem"]["code"] == "worker-died"
    assert job["message"] == job["problem"]["detail"]
    assert job["message"].startswith("The worker crashed (a fault in a library, often a graphics driver), 3 times")
    assert "retry" in job["problem"]["remedy"]
    assert wait_end(shared, "next")["state"] == "succeeded"
    shared.client.post("/v1/jobs/doomed/retry")
    wait_running(shared, "doomed")
    shared.client.post("/v1/jobs/doomed/cancel")
    wait_end(shared, "doomed")


def works_again(running: Running, job: str, last: int) -> int:
    """The newest event of a job if a worker has told of its progress since the event `last`, else 0."""
    status = running.client.get(f"/v1/jobs/{job}")
    return status["last_event"] if " of 150" in status["message"] and status["last_event"] > last + 1 else 0


def _has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended; it may go between one look and the next."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_worker_that_hangs_is_replaced(start: Start, scene: Path) -> None:
    running = warm_up(start("--worker-silence", "2.5"), scene)
    running.client.put("/v1/jobs/hung", long_request(scene, 50.0))
    wait_running(running, "hung")
    worker = worker_of(running)
    worker.suspend()
    stopped = time.monotonic()
    wait_for(lambda: _has_ended(worker), 10)
    assert 1.4 < time.monotonic() - stopped < 6
    assert wait_end(running, "hung")["state"] == "succeeded"
    assert "gave no sign of life for" in log_of(running, "hung")


def test_a_hung_worker_is_cancelled_all_the_same(shared: Running, scene: Path) -> None:
    shared.client.put("/v1/jobs/hung", long_request(scene, 51.0))
    wait_running(shared, "hung")
    worker_of(shared).suspend()
    asked = time.monotonic()
    shared.client.post("/v1/jobs/hung/cancel")
    assert wait_end(shared, "hung")["state"] == "cancelled"
    assert time.monotonic() - asked < 2.0  # it cannot answer; a second is what it is given
    assert shared.client.run("after", render_request(orbit(scene, 52.0)))["state"] == "succeeded"


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="no way to limit a worker's memory from outside")
def test_too_little_memory(shared: Running, scene: Path) -> None:
    worker = worker_of(shared)
    before = worker.rlimit(psutil.RLIMIT_AS)
    worker.rlimit(psutil.RLIMIT_AS, (worker.memory_info().vms + 2**26, before[1]))
    large = orbit(scene, 20.0)
    large["width"] = large["height"] = 8192
    for frame in large["frames"]:
        frame["intrinsics"] = [8192.0, 8192.0, 4096.0, 4096.0]
    job = shared.client.run("large", render_request(large))
    assert job["state"] == "failed"
    assert job["problem"]["code"] == "out-of-memory", job["problem"]
    assert job["message"].startswith("This machine ran out of memory: choose a smaller size")
    assert worker_of(shared).pid == worker.pid  # it survived
    worker.rlimit(psutil.RLIMIT_AS, before)
    assert shared.client.run("small", render_request(orbit(scene, 21.0)))["state"] == "succeeded"


def test_no_worker_outlives_a_killed_server(start: Start, scene: Path) -> None:
    running = warm_up(start(), scene)
    running.client.put("/v1/jobs/long", long_request(scene, 60.0))
    wait_running(running, "long")
    workers = psutil.Process(running.process.pid).children()
    running.kill()
    assert not psutil.wait_procs(workers, 2)[1]
    again = start()
    job = wait_end(again, "long")
    assert job["state"] == "succeeded"
    assert job["attempt"] == 2


def test_cancel_at_any_moment(shared: Running, scene: Path, tiny_clip: Path) -> None:
    requests = {
        "import": lambda n: {"kind": "import", "footage": {"path": str(tiny_clip)}, "focal_px": 50.0 + n},
        "render": lambda n: render_request(orbit(scene, 70.0 + n / 100, frames=100)),
        "reshoot": lambda n: reshoot_scene_request(orbit(scene, 80.0 + n / 100, frames=60)),
    }
    seconds = cancel_seconds(shared, requests, rounds=6, longest={"import": 0.4, "render": 0.6, "reshoot": 1.5})
    assert max(seconds) < 1.0, seconds
    assert shared.client.run("last", render_request(orbit(scene, 90.0)))["state"] == "succeeded"


def test_cancel_while_it_waits(shared: Running, scene: Path) -> None:
    shared.client.put("/v1/jobs/first", long_request(scene, 91.0))
    shared.client.put("/v1/jobs/second", render_request(orbit(scene, 92.0)))
    assert shared.client.post("/v1/jobs/second/cancel")["state"] == "cancelled"
    assert wait_end(shared, "first")["state"] == "succeeded"
    assert shared.client.get("/v1/jobs/second")["state"] == "cancelled"
    shared.client.post("/v1/jobs/second/retry")
    assert wait_end(shared, "second")["state"] == "succeeded"


@pytest.mark.slow
def test_cancel_at_full_size(start: Start, tmp_path: Path) -> None:
    options = import_options()
    full = make_scene(sample.clip_path(), tmp_path, **options)
    running = warm_up(start(), full)
    footage: dict[str, Any] = {"footage": {"path": str(sample.clip_path())}, "depth": {"path": str(options["depth"])}}
    footage |= {"depth_kind": options["depth_kind"], "depth_range": list(options["depth_range"])}
    requests = {
        "import": lambda n: {"kind": "import", **footage, "focal_px": 600.0 + n},
        "estimate": lambda n: {"kind": "import", "footage": footage["footage"], "focal_px": 700.0 + n},
        "render": lambda n: render_request(orbit(full, 30.0 + n / 100)),
        "reshoot": lambda n: reshoot_scene_request(orbit(full, 40.0 + n / 100)),
    }
    longest = {"import": 10.0, "estimate": 25.0, "render": 6.0, "reshoot": 15.0}
    seconds = cancel_seconds(running, requests, rounds=10, longest=longest)
    assert statistics.quantiles(seconds, n=20)[-1] < 1.0, sorted(seconds)
    assert max(seconds) < 1.5, sorted(seconds)


def cancel_seconds(
    running: Running,
    requests: dict[str, Callable[[int], dict[str, Any]]],
    rounds: int,
    longest: dict[str, float],
) -> list[float]:
    """Cancel each kind of job at random moments; the seconds until it was cancelled.

    Args:
        running: the sidecar.
        requests: a kind's name, and what makes the n-th request of that kind, each unlike the others.
        rounds: how many of each kind.
        longest: the latest moment at which to cancel each kind, seconds.
    """
    chance = random.Random(7)
    seconds: list[float] = []
    for n in range(rounds):
        for kind, request in requests.items():
            job = f"{kind}-{n}"
            running.client.put(f"/v1/jobs/{job}", request(n))
            time.sleep(chance.uniform(0, longest[kind]))
            asked = time.monotonic()
            if running.client.get(f"/v1/jobs/{job}")["state"] == "succeeded":
                continue
            try:
                running.client.post(f"/v1/jobs/{job}/cancel")
            except ClientError as error:
                if "is finished" not in str(error):
                    raise
                continue  # it has ended between the two questions
            if wait_end(running, job)["state"] == "cancelled":
                seconds.append(time.monotonic() - asked)
    assert len(seconds) > rounds * len(requests) / 3, "most were finished before they could be cancelled"
    return seconds


def test_exits_in_plain_words() -> None:
    assert explain_exit(1, "ImportError: no libGL") == "ended by itself with code 1 (ImportError: no libGL)"
    assert explain_exit(-signal.SIGABRT) == "gave up (a library found its own state broken)"
    assert explain_exit(-signal.SIGTERM) == "was ended by signal 15"


class _LibraryError(Exception):
    """As of a library that knows nothing of `OSError`."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_LibraryError("I/O error: No space left on device (os error 28)"), "no-space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no-space"),
        (_LibraryError("CUDA out of memory"), "out-of-memory"),
        (_LibraryError("no such key"), "defect"),
    ],
)
def test_what_libraries_say_in_their_own_way(error: Exception, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any) -> dict[str, Any]:
        raise error

    told: list[dict[str, Any]] = []
    worker = Worker.__new__(Worker)
    monkeypatch.setattr(worker, "tell", lambda **message: told.append(message))
    monkeypatch.setattr("ex4d_server.worker.perform", broken)
    worker._perform({"op": "generate", "n": 1, "args": {}})
    assert [message["failed"]["code"] for message in told] == [code]
    assert ": " in told[0]["failed"]["message"]


def test_a_job_that_was_asked_for_twice_runs_once(shared: Running, tiny_clip: Path) -> None:
    request = reshoot_request(tiny_clip)
    first = shared.client.run("one", request)
    second = shared.client.run("one", request)
    assert first == second
    assert second["attempt"] == 1
    same = shared.client.run("two", request)
    assert [stage["cached"] for stage in same["stages"]] == [True, True, True]
    assert same["result"]["path"] == first["result"]["path"]
