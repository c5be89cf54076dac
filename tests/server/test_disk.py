"""A full disk and a clock set back: one clear sentence, and nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conftest import Running, Start, launch, wait_started
from ex4d_server.cache import Cache
from ex4d_server.client import ClientError
from ex4d_server.folders import DataFolder
from ex4d_server.runner import Runner, RunnerSettings
from ex4d_server.store import Store
from ex4d_server.uploads import Uploads
from job_cases import integrity, make_scene, orbit, render_request, reshoot_scene_request, rows, wait_end
from sqlalchemy.exc import OperationalError

MIB = 2**20


@pytest.fixture(scope="module")
def scene(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene folder of the tiny clip."""
    return make_scene(tiny_clip, tmp_path_factory.mktemp("scene"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 400 MiB."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Take all of a disk but so many bytes; again takes what was given back since."""
    filler = disk / "filler"
    with full_is_fine(), filler.open("ab") as file:
        free = shutil.disk_usage(disk).free - leave
        with full_is_fine():
            os.posix_fallocate(file.fileno(), filler.stat().st_size, max(free, 1))
        while leave == 0:  # to the last page
            file.write(bytes(4096))
            file.flush()
    return filler


@contextmanager
def full_is_fine() -> Iterator[None]:
    """Go on when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def test_full_in_the_middle_of_a_job(start: Start, scene: Path, small_disk: Path) -> None:
    running = start(data=small_disk / "data")
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    running.client.put("/v1/jobs/unlucky", reshoot_scene_request(orbit(scene, 20.0, frames=80)))
    _wait_fraction(running, "unlucky")
    filler = fill(small_disk)
    while (job := running.client.get("/v1/jobs/unlucky"))["state"] == "running":
        if (running.data / "ballast").exists():  # once that is given up, the sidecar may have what it gave
            fill(small_disk)
    assert job["state"] == "failed", job
    assert job["problem"]["code"] == "no-space", job["problem"]
    assert job["problem"]["status"] == 507
    assert "free some space" in job["problem"]["remedy"]
    assert job["message"].count(".") == job["message"].rstrip(".").count(".") + 1  # one sentence
    assert running.client.get("/v1/health")["status"] in ("ready", "busy")
    fill(small_disk)  # what the failure gave back, too
    error = _refusal(running, small_disk, scene)
    assert (error.status, error.code) == (507, "no-space")
    assert "disk of the data folder is full" in str(error)
    assert running.client.get("/v1/jobs/unlucky")["id"] == "unlucky"  # reading goes on
    assert running.client.get("/v1/jobs/unlucky/log")
    filler.unlink()
    running.client.post("/v1/jobs/unlucky/retry")
    assert wait_end(running, "unlucky")["state"] == "succeeded"
    assert running.client.run("after", render_request(orbit(scene, 99.0)))["state"] == "succeeded"
    assert running.stop() == 0
    assert integrity(running.data) == "ok"
    assert (running.data / "ballast").stat().st_size == 4 * MIB  # kept back again
    _quiet(running)


def _refusal(running: Running, disk: Path, scene: Path) -> ClientError:
    """The answer to a new job on a full disk; the store's own file may have room left for some."""
    for n in range(50):
        try:
            running.client.put(f"/v1/jobs/refused-{n}", render_request(orbit(scene, 21.0 + n)))
        except ClientError as error:
            return error
        fill(disk)
    raise AssertionError("fifty jobs were taken in on a full disk")


def _quiet(running: Running) -> None:
    """Nothing but sentences on the terminal."""
    assert running.process.stderr is not None
    said = running.process.stderr.read()
    assert "Traceback" not in said, said[-3000:]


def _wait_fraction(running: Running, job: str) -> None:
    deadline = time.monotonic() + 30
    while not running.client.get(f"/v1/jobs/{job}")["fraction"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_end_of_a_job_is_written_down_on_a_full_disk(small_disk: Path) -> None:
    folder = DataFolder(small_disk / "data")
    folder.make()
    store = Store(folder.database)
    cache = Cache(folder, store, limit_bytes=0)
    runner = Runner(RunnerSettings(), store, cache, Uploads(cache, 0))
    store.add_job("job", {"kind": "render"})
    store.claim()
    fill(small_disk)
    with pytest.raises(OperationalError, match="full"):
        _write_for_ever(store)
    runner._stopping.set()  # it tries once more at most
    runner._record("job", {"state": "failed", "message": "no space"})
    ended = store.job("job")
    assert ended is not None
    assert (ended["state"], ended["message"]) == ("failed", "no space")
    assert not (folder.root / "ballast").exists()
    store.close()


def _write_for_ever(store: Store) -> None:
    while True:
        store.change("job", "log", message="on and on")


def test_known_to_be_full_before_the_work(start: Start, scene: Path, small_disk: Path) -> None:
    running = start(data=small_disk / "data")
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    fill(small_disk, leave=100 * MIB)
    request = render_request(orbit(scene, 20.0))
    preflight = running.client.post("/v1/preflight", request)
    assert not preflight["fits"]
    assert preflight["shortages"][0]["what"] == "disk"
    assert preflight["shortages"][0]["needed_bytes"] > 0
    job = running.client.run("job", request)
    assert job["state"] == "failed"
    assert job["problem"]["code"] == "no-space"
    assert "of disk and" in job["message"]
    assert not list((running.data / "cache" / "render").iterdir())


def test_full_during_an_upload(start: Start, small_disk: Path) -> None:
    running = start(data=small_disk / "data")
    content = os.urandom(8 * MIB)
    facts: dict[str, Any] = {"name": "clip.mp4", "size": len(content), "sha256": sha256(content).hexdigest()}
    first, second = content[: 4 * MIB], content[4 * MIB :]
    running.client.put("/v1/uploads/clip", first, **facts, offset=0, piece_sha256=sha256(first).hexdigest())
    filler = fill(small_disk)
    with pytest.raises(ClientError) as refused:
        running.client.put("/v1/uploads/clip", second, **facts, offset=len(first), piece_sha256=_hash(second))
    assert (refused.value.status, refused.value.code) == (507, "no-space")
    with pytest.raises(ClientError) as refused:
        running.client.put("/v1/uploads/other", first, **facts, offset=0, piece_sha256=_hash(first))
    assert (refused.value.status, refused.value.code) == (507, "no-space")
    filler.unlink()
    received = running.client.get("/v1/uploads/clip")["received"]
    assert received >= len(first)
    rest = content[received:]
    done = running.client.put("/v1/uploads/clip", rest, **facts, offset=received, piece_sha256=_hash(rest))
    assert done["complete"]


def _hash(piece: bytes) -> str:
    return sha256(piece).hexdigest()


def test_start_on_a_full_disk(start: Start, scene: Path, small_disk: Path, tmp_path: Path) -> None:
    running = start(data=small_disk / "data")
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    running.client.put("/v1/jobs/waits", reshoot_scene_request(orbit(scene, 20.0, frames=80)))
    _wait_fraction(running, "waits")
    running.kill()
    filler = fill(small_disk)
    process = launch(running.data, tmp_path / "state")
    try:
        line = process.stdout.readline() if process.stdout else ""
        if process.poll() is None and '"address"' in line:  # it got by with what it keeps back
            process.terminate()
            assert process.wait(15) == 0
        else:
            out = line + process.communicate(timeout=15)[0]
            assert process.returncode == 1
            assert "full" in out
            assert "free some space" in out
    finally:
        process.kill()
        process.communicate()
    filler.unlink()
    again = start(data=small_disk / "data")
    assert again.client.get("/v1/jobs/waits")["state"] in ("queued", "running", "failed")
    if again.client.get("/v1/jobs/waits")["state"] == "failed":
        again.client.post("/v1/jobs/waits/retry")
    assert wait_end(again, "waits")["state"] == "succeeded"
    assert integrity(running.data) == "ok"


def test_clock_set_back(tmp_path: Path, scene: Path) -> None:
    """A server whose clock is years ahead, and then one whose clock is right, on the same folder."""
    data, state = tmp_path / "data", tmp_path / "state"
    shifted = tmp_path / "shifted"
    shifted.mkdir()
    (shifted / "sitecustomize.py").write_text(_SHIFTED_CLOCK)
    request = reshoot_scene_request(orbit(scene, 20.0))
    process = launch(data, state, environment={"PYTHONPATH": str(shifted)})
    try:
        ahead = wait_started(process, data, state)
        ahead.client.put("/v1/scenes/scene", {"path": str(scene)})
        assert ahead.client.run("early", request)["state"] == "succeeded"
        ahead.client.put("/v1/jobs/interrupted", {**request, "seed": 1})
        ahead.kill()
    finally:
        process.communicate()
    process = launch(data, state)
    try:
        running = wait_started(process, data, state)
        assert running.client.run("late", {**request, "seed": 2})["state"] == "succeeded"
        jobs = running.client.get("/v1/jobs")["jobs"]
        assert [job["id"] for job in jobs] == ["early", "interrupted", "late"]
        assert [job["state"] for job in jobs] == ["succeeded"] * 3
        assert jobs[0]["created_at"] > "2040" > jobs[2]["created_at"]  # else this test shows nothing
        for job in ("early", "interrupted", "late"):
            kinds = [row[1] for row in rows(data, f"SELECT id, data FROM events WHERE job = '{job}' ORDER BY id")]
            states = [kind.split('"state": "')[1].split('"')[0] for kind in kinds]
            assert states == sorted(states, key=["queued", "running", "succeeded"].index) or job == "interrupted"
        for job in ("early", "late"):
            running.client.delete(f"/v1/jobs/{job}")
        used = [row[0] for row in rows(data, "SELECT key FROM entries ORDER BY used")]
        made = [row[0] for row in rows(data, "SELECT key FROM entries ORDER BY made_at")]
        assert used != made
        assert running.stop() == 0
        done = subprocess.run(_prune(data, _total(data) - 1), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        gone = set(used) - {row[0] for row in rows(data, "SELECT key FROM entries")}
        assert len(gone) == 1
        unpinned = [key for key in used if key not in _pinned(data)]
        assert gone == {unpinned[0]}  # what was used first, although its clock says it is the newest
    finally:
        process.kill()
        process.communicate()


_SHIFTED_CLOCK = """
import datetime, time

_AHEAD = 20 * 366 * 86400
_real = time.time
time.time = lambda: _real() + _AHEAD


class _Ahead(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=_AHEAD)


datetime.datetime = _Ahead
"""


def _total(data: Path) -> int:
    return rows(data, "SELECT sum(bytes) FROM entries")[0][0]


def _prune(data: Path, limit: int) -> list[str]:
    import sys

    return [sys.executable, "-m", "ex4d_core.cli", "cache", "prune", "--data", str(data), "--to-gb", str(limit / 1e9)]


def _pinned(data: Path) -> set[str]:
    needed = "SELECT key FROM uses JOIN jobs ON jobs.id = uses.job WHERE keeps OR state != 'succeeded'"
    return {row[0] for row in rows(data, f"{needed} UNION SELECT key FROM scenes")}
