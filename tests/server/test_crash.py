"""`kill -9` at any moment: no job is lost, none comes out differently, nothing is left lying about."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Running, Start, reshoot_request
from ex4d_server.client import EventStream
from job_cases import (
    TERMINAL,
    folder_hash,
    integrity,
    make_scene,
    orbit,
    render_request,
    reshoot_scene_request,
    rows,
    wait_end,
)

Requests = dict[str, dict[str, Any]]
Seen = dict[str, list[tuple[int, str, str]]]


@pytest.fixture(scope="module")
def scene(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene folder of the tiny clip."""
    return make_scene(tiny_clip, tmp_path_factory.mktemp("scene"))


def make_requests(scene: Path, clip: Path) -> Requests:
    """Jobs that share stages in every way: a scene, a render, footage; and one that depends on another."""
    found: Requests = {f"reshoot-{n}": reshoot_scene_request(orbit(scene, 10.0 + 8 * n)) for n in range(4)}
    found["other-seed"] = {**found["reshoot-0"], "seed": 7}
    found["same-again"] = dict(found["reshoot-1"])
    found["long"] = reshoot_scene_request(orbit(scene, 25.0, frames=24))
    found["passes"] = render_request(orbit(scene, -12.0), passes=["depth", "risk"])
    for side, yaw in (("left", 15.0), ("right", -15.0)):
        move = {"preset": "orbit", "yaw": yaw}
        found[f"footage-{side}"] = {**reshoot_request(clip), "move": move, "scene": "from-footage"}
    found["import"] = {"kind": "import", "footage": {"path": str(clip)}, "frames": 4, "scene": "shorter"}
    return found


def results(running: Running, requests: Requests) -> dict[str, str]:
    """Hashes of what every job made."""
    return {job: folder_hash(Path(running.client.get(f"/v1/jobs/{job}")["result"]["path"])) for job in requests}


def submit(running: Running, requests: Requests) -> None:
    """Ask for all jobs; again is the same."""
    for job, request in requests.items():
        running.client.put(f"/v1/jobs/{job}", request)


@pytest.mark.skipif(os.name == "nt", reason="kills processes the POSIX way")
def test_a_few_crashes(start: Start, scene: Path, tiny_clip: Path, tmp_path: Path) -> None:
    crash_rounds(start, make_requests(scene, tiny_clip), scene, tmp_path, rounds=2, seed=3)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills processes the POSIX way")
def test_fifty_crashes(start: Start, scene: Path, tiny_clip: Path, tmp_path: Path) -> None:
    crash_rounds(start, make_requests(scene, tiny_clip), scene, tmp_path, rounds=50, seed=4)


def crash_rounds(start: Start, requests: Requests, scene: Path, tmp_path: Path, rounds: int, seed: int) -> None:
    """Do the jobs undisturbed, then with a crash in every round; all must come out the same."""
    chance = random.Random(seed)
    calm = start(data=tmp_path / "calm")
    begun = time.monotonic()
    expected = undisturbed(calm, requests, scene)
    seconds = time.monotonic() - begun
    assert calm.stop() == 0
    tokens = {calm.server.token}
    data = tmp_path / "data"
    watched = Watched(list(requests))
    done: dict[str, str] = {}
    running = start(data=data)
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    submit(running, requests)
    for number in range(rounds):
        target = chance.choice(("server", "worker", "both"))
        before = {row[0]: row[1] for row in rows(data, "SELECT id, state FROM jobs")}
        with watched.during(running):
            time.sleep(chance.uniform(0, min(seconds / 3, 3.0)))
            crash(running, target)
        if target != "worker":
            running.process.wait()
            assert integrity(data) == "ok"
            watched.check(data)
            running = start(data=data)
        tokens.add(running.server.token)
        states = {job["id"]: job["state"] for job in running.client.get("/v1/jobs")["jobs"]}
        assert states.keys() >= before.keys(), f"round {number}: a job was lost"
        for job, state in before.items():
            assert state != "succeeded" or states[job] == "succeeded", f"round {number}: {job} is no longer finished"
        submit(running, requests)  # as clients do that got no answer; changes nothing
        retry_failed(running)
        done |= compare(running, requests, expected)
        if len(done) == len(
            requests
        ):  # everything is made: from the start again, so that there is something to disturb
            forget_all(running, requests)
            running.client.put("/v1/scenes/scene", {"path": str(scene)})
            submit(running, requests)
            watched = Watched(list(requests))
            done = {}
    finish(running, requests)
    assert results(running, requests) == expected
    assert running.stop() == 0
    assert integrity(data) == "ok"
    running = start(data=data)
    assert results(running, requests) == expected
    assert running.stop() == 0
    nothing_left_over(data, set(requests))
    log = (data / "logs" / "sidecar.log").read_text()
    assert not any(token in log for token in tokens)


def undisturbed(running: Running, requests: Requests, scene: Path) -> dict[str, str]:
    """What the jobs give when nothing happens."""
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    submit(running, requests)
    for job in requests:
        status = wait_end(running, job)
        assert status["state"] == "succeeded", status
    return results(running, requests)


def crash(running: Running, target: str) -> None:
    """Kill -9 of the server, its worker, or both."""
    workers = psutil.Process(running.process.pid).children()
    if target != "server":
        for worker in workers:
            worker.kill()
    if target != "worker":
        running.process.send_signal(signal.SIGKILL)
        assert not psutil.wait_procs(workers, 3)[1], "a worker outlived its server"


def retry_failed(running: Running) -> None:
    """A job may fail when its worker was killed thrice: that is said, and it can be tried again."""
    for job in running.client.get("/v1/jobs", state="failed")["jobs"]:
        assert job["problem"]["code"] == "worker-died", job
        running.client.post(f"/v1/jobs/{job['id']}/retry")


def finish(running: Running, requests: Requests) -> None:
    """Let all jobs come to their end."""
    for job in requests:
        status = wait_end(running, job)
        assert status["state"] == "succeeded", status


def compare(running: Running, requests: Requests, expected: dict[str, str]) -> dict[str, str]:
    """The jobs that are finished; each must be what it was undisturbed."""
    finished: dict[str, str] = {}
    for job in requests:
        status = running.client.get(f"/v1/jobs/{job}")
        if status["state"] == "succeeded":
            finished[job] = folder_hash(Path(status["result"]["path"]))
            assert finished[job] == expected[job], f"{job} came out differently"
    return finished


def forget_all(running: Running, requests: Requests) -> None:
    """Delete all jobs and scenes with what is cached for them."""
    for job in requests:
        running.client.delete(f"/v1/jobs/{job}")
    for scene in running.client.get("/v1/scenes")["scenes"]:
        running.client.delete(f"/v1/scenes/{scene['id']}")
    for folder in (running.data / "cache").iterdir():
        for entry in folder.iterdir():
            shutil.rmtree(entry)


@dataclass
class Watched:
    """What clients saw of the events of jobs, over all crashes."""

    jobs: list[str]
    seen: Seen = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def during(self, running: Running) -> Watching:
        """Follow some jobs, each from the last event that was seen of it."""
        return Watching(self, running)

    def check(self, data: Path) -> None:
        """Whatever a client was told is in the store, in that order, and nothing between was kept from it."""
        for job, events in self.seen.items():
            ids = [number for number, _, _ in events]
            assert ids == sorted(set(ids)), f"{job}: {ids}"
            found = rows(data, f"SELECT id, kind, json_extract(data, '$.state') FROM events WHERE job = '{job}'")
            stored = {number: kind for number, kind, _ in found}
            ended = max((number for number, _, state in found if state in TERMINAL), default=0)
            for number, kind, _ in events:
                forgettable = kind in ("progress", "preview") and number < ended  # told once, of no use afterwards
                assert number in stored or forgettable, f"{job}: {number} was forgotten"
            missed = [n for n, kind in stored.items() if n < max(ids, default=0) and n not in ids and kind == "state"]
            assert not missed, f"{job}: {missed} were never told"


@dataclass
class Watching:
    """Threads that listen while a crash happens."""

    watched: Watched
    running: Running
    _tasks: list[threading.Thread] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> None:
        for job in self.watched.jobs[:4]:
            thread = threading.Thread(target=self._listen, args=(job,), daemon=True)
            self._tasks.append(thread)
            thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._tasks:
            thread.join(10)
            assert not thread.is_alive()

    def _listen(self, job: str) -> None:
        events = self.watched.seen.setdefault(job, [])
        stream = EventStream(self.running.server, job, events[-1][0] if events else 0, patience=0.0)
        try:
            while not stream.done and not self._over.is_set():
                for event in stream.step():
                    if event.id is not None:
                        events.append((event.id, event.kind, event.data["state"]))
                time.sleep(0.005)
        finally:
            stream.close()


def nothing_left_over(data: Path, jobs: set[str]) -> None:
    """The data folder holds what the store knows of, and nothing else."""
    top = {path.name for path in data.iterdir()}
    # SQLite keeps its log beside the store if a thread still read as the server ended; the next start takes it up
    top -= {"ex4d.sqlite3-wal", "ex4d.sqlite3-shm"}
    assert top <= {"ex4d-data.txt", "ex4d.sqlite3", "lock", "ballast", "logs", "jobs", "cache", "uploads"}, top
    assert {path.name for path in (data / "jobs").iterdir()} == jobs
    for job in (data / "jobs").iterdir():
        assert {path.name for path in job.iterdir()} <= {"log.txt", "preview.jpg"}
    assert not list((data / "uploads").iterdir())
    known = {(row[0], row[1]) for row in rows(data, "SELECT kind, key FROM entries")}
    on_disk = {(p.parent.name, p.name.removesuffix(".ex4d")) for p in (data / "cache").glob("*/*")}
    assert on_disk == known
    odd = [
        p
        for p in (data / "cache").rglob("*")
        if p.suffix in (".partial", ".lock", ".next", ".tmp") or "trash" in p.name
    ]
    assert not odd
