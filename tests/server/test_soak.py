"""Many jobs in a row: the server that did a thousand is no larger than the one that did a hundred."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from conftest import Start
from job_cases import make_scene, orbit, render_request, wait_end, wait_for

GROWTH_BYTES = 20_000_000


def soak(start: Start, clip: Path, folder: Path, jobs: int, measured: int) -> None:
    """Do so many jobs; memory is measured after `measured` of them and at the end."""
    scene = make_scene(clip, folder)
    running = start()
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    server = psutil.Process(running.process.pid)
    before: tuple[int, int, int] | None = None
    for n in range(1, jobs + 1):
        if n == measured + 1:
            wait_end(running, f"job-{measured}", 300)
            before = measure(server)
        running.client.put(f"/v1/jobs/job-{n}", render_request(orbit(scene, n / 20, frames=2)))
    wait_end(running, f"job-{jobs}", 900)
    listed, after = [], 0
    while after is not None:
        page = running.client.get("/v1/jobs", after=after, limit=1000)
        listed += page["jobs"]
        after = page["next"]
    assert [job["id"] for job in listed] == [f"job-{n}" for n in range(1, jobs + 1)]
    assert {(job["state"], job["attempt"]) for job in listed} == {("succeeded", 1)}
    assert len({job["result"]["path"] for job in listed}) == jobs
    assert before is not None
    # the threads that answer requests end when they have had nothing to do for a while
    wait_for(lambda: measure(server)[1] <= before[1], 20)
    wait_for(lambda: measure(server)[2] <= before[2], 20)
    assert measure(server)[0] - before[0] < GROWTH_BYTES


def measure(server: psutil.Process) -> tuple[int, int, int]:
    """Bytes of memory, open files and connections, threads."""
    return server.memory_info().rss, server.num_fds() if os.name != "nt" else server.num_handles(), server.num_threads()


def test_thirty_jobs(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    soak(start, tiny_clip, tmp_path, jobs=30, measured=10)


@pytest.mark.slow
def test_a_thousand_jobs(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    soak(start, tiny_clip, tmp_path, jobs=1000, measured=100)
