"""Many jobs in a row: the server that did a thousand is no larger than the one that did a hundred."""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from conftest import Running, Start
from ex4d_server.store import Store
from job_cases import make_scene, orbit, render_request, wait_end, wait_for

GROWTH_BYTES = 20_000_000
MOST_THREADS = 40 + 12
"""Those that answer requests, as many as there ever are, and the server's own."""
_READERS = 15
"""Connections that read."""
MOST_STORE_FILES = (_READERS + 1) * 2 + 1
"""Of fifteen connections that read and one that writes."""


def soak(start: Start, clip: Path, folder: Path, jobs: int, measured: int) -> None:
    """Do so many jobs; memory is measured after `measured` of them and at the end."""
    scene = make_scene(clip, folder)
    running = start()
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    before: Size | None = None
    for n in range(1, jobs + 1):
        if n == measured + 1:
            wait_end(running, f"job-{measured}", 300)
            before = measure(running)
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
    after_all = measure(running)
    assert after_all.files == before.files
    assert after_all.store_files <= MOST_STORE_FILES
    assert after_all.threads <= MOST_THREADS
    assert after_all.memory - before.memory < GROWTH_BYTES


@dataclass(frozen=True)
class Size:
    """What a server takes of its machine."""

    memory: int
    """Bytes."""
    files: Counter[str]
    """Open files by name, and under "other" connections and the like; without the store's."""
    store_files: int
    """Those of the job store; SQLite closes them late, to keep its locks."""
    threads: int


def measure(running: Running) -> Size:
    """After many clients came at once, so that every pool is as full as it gets, and left again."""
    clients = [threading.Thread(target=running.client.get, args=("/v1/jobs",)) for _ in range(64)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    server = psutil.Process(running.process.pid)
    wait_for(lambda: running.client.get("/v1/health")["status"] == "ready")
    wait_for(lambda: all(c.status == psutil.CONN_LISTEN for c in server.net_connections() if c.laddr), 30)
    names = Counter(Path(file.path).name for file in server.open_files())
    files = Counter({name: count for name, count in names.items() if "sqlite3" not in name})
    files["other"] = (server.num_fds() if os.name != "nt" else server.num_handles()) - names.total()
    return Size(server.memory_info().rss, files, names.total() - files.total() + files["other"], server.num_threads())


def test_thirty_jobs(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    soak(start, tiny_clip, tmp_path, jobs=30, measured=10)


@pytest.mark.slow
def test_a_thousand_jobs(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    soak(start, tiny_clip, tmp_path, jobs=1000, measured=100)


def test_a_list_of_jobs_leaves_nothing_of_their_requests(tmp_path: Path) -> None:
    """However many jobs there are: each connection keeps what it has read, and a long camera move is long to read."""
    store = Store(tmp_path / "jobs.sqlite3")
    frames = [{"c2w": [number / 7] * 16} for number in range(100)]
    for n in range(120):
        store.add_job(f"job-{n}", {"kind": "reshoot", "trajectory": {"frames": frames}, "seed": n})
    together = threading.Barrier(_READERS)

    def read() -> None:
        with store.reading():  # so that each has a connection of its own
            together.wait()
        for _ in range(4):
            store.list_jobs()

    before = psutil.Process().memory_info().rss
    readers = [threading.Thread(target=read) for _ in range(_READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    store.close()
    assert psutil.Process().memory_info().rss - before < 15_000_000
