"""The life of a sidecar: how it starts, who finds it, what it says when it cannot, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Running, Start, launch, reshoot_request, wait_started
from ex4d_server.client import Client, ClientError, discover
from ex4d_server.folders import DataFolder
from ex4d_server.lifecycle import address_file, read_token
from job_cases import make_scene, orbit, reshoot_scene_request, wait_end, wait_for, wait_running

from ex4d_core.errors import InputError

TOKEN = "a-token-that-is-long-enough"


@pytest.fixture(scope="module")
def tiny_scene(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene folder of the tiny clip."""
    return make_scene(tiny_clip, tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def long_job(tiny_scene: Path) -> dict[str, Any]:
    """A reshoot of the tiny scene that takes some seconds."""
    return reshoot_scene_request(orbit(tiny_scene, 15.0, frames=60))


def refused(tmp_path: Path, *options: str, data: Path | None = None) -> str:
    """What a start that must fail says: one sentence and nothing else, exit code 1."""
    process = launch(data or tmp_path / "data", tmp_path / "state", *options)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1, (process.returncode, out, err)
    assert err == ""
    said = json.loads(out)["error"]["message"]
    assert "\n" not in said
    return said


def children(running: Running) -> list[psutil.Process]:
    """The worker processes of a sidecar."""
    return psutil.Process(running.process.pid).children()


def test_ready_with_an_address_for_the_owner_alone(tmp_path: Path) -> None:
    begun = time.monotonic()
    process = launch(tmp_path / "data", tmp_path / "state")
    running = wait_started(process, tmp_path / "data", tmp_path / "state")
    try:
        assert time.monotonic() - begun < 15  # generous; scripts/bench_server.py measures it
        assert running.client.get("/v1/health")["status"] == "ready"
        file = next((tmp_path / "state" / "sidecars").glob("*.json"))
        facts = json.loads(file.read_text())
        assert facts == {
            "address": running.server.address,
            "pid": process.pid,
            "version": "0.1.0",
            "api": 1,
            "token": running.server.token,
            "data": str((tmp_path / "data").resolve()),
            "started_at": facts["started_at"],
        }
        assert len(facts["token"]) >= 32
        if os.name != "nt":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert [s.address for s in discover(tmp_path / "state")] == [running.server.address]
        assert running.stop() == 0
        assert not file.exists()
        log = (tmp_path / "data" / "logs" / "sidecar.log").read_text()
        assert facts["token"] not in log
    finally:
        process.kill()
        process.communicate()


def test_a_second_start_finds_the_first(start: Start, tmp_path: Path) -> None:
    first = start()
    said = refused(tmp_path)
    assert first.server.address in said
    assert f"process {first.process.pid}" in said
    assert first.client.get("/v1/health")["status"] == "ready"
    first.kill()
    second = start()  # what a killed one left behind keeps nobody out
    assert second.server.address != first.server.address or second.server.token != first.server.token
    assert [s.pid for s in discover(tmp_path / "state")] == [second.process.pid]


def test_two_starts_at_once(tmp_path: Path) -> None:
    both = [launch(tmp_path / "data", tmp_path / "state") for _ in range(2)]
    wait_for(lambda: any(p.poll() is not None for p in both))
    loser, winner = sorted(both, key=lambda p: p.poll() is None)
    try:
        assert loser.returncode == 1
        assert loser.stdout is not None
        assert f"process {winner.pid}" in loser.stdout.read()
        running = wait_started(winner, tmp_path / "data", tmp_path / "state")
        assert running.stop() == 0
    finally:
        for process in both:
            process.kill()
            process.communicate()


def test_health_tells_of_a_worker_that_cannot_start(tmp_path: Path, tiny_clip: Path) -> None:
    shadow = tmp_path / "shadow" / "numba"  # the worker imports it, the server never does
    shadow.mkdir(parents=True)
    broken = shadow / "__init__.py"
    broken.write_text("raise ImportError('the library libfoo is missing')")
    environment = {"PYTHONPATH": str(shadow.parent)}
    process = launch(tmp_path / "data", tmp_path / "state", environment=environment)
    try:
        running = wait_started(process, tmp_path / "data", tmp_path / "state")
        health = wait_for(lambda: _failed_health(running))
        assert "ended by itself with code 1 (ImportError: the library libfoo is missing)" in health["detail"]
        running.client.put("/v1/jobs/patient", reshoot_request(tiny_clip))
        time.sleep(1)
        assert running.client.get("/v1/health")["status"] == "failed"
        assert running.client.get("/v1/jobs/patient")["state"] == "queued"
        broken.unlink()
        shadow.rmdir()
        assert wait_end(running, "patient")["state"] == "succeeded"
        wait_for(lambda: running.client.get("/v1/health")["status"] == "ready")
    finally:
        process.kill()
        process.communicate()


def _failed_health(running: Running) -> dict[str, Any] | None:
    health = running.client.get("/v1/health")
    return health if health["status"] == "failed" else None


def test_the_parent_dies_and_the_job_is_finished(start: Start, tiny_scene: Path, long_job: dict[str, Any]) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    running = start("--parent-pid", str(parent.pid), "--exit-when-idle", "0.02")
    time.sleep(2.5)  # idle for longer than that, but the parent lives
    running.client.put("/v1/scenes/scene", {"path": str(tiny_scene)})
    running.client.put("/v1/jobs/long", long_job)
    parent.kill()  # and nobody waits for it: a zombie, as the child of a hung desktop is
    wait_running(running, "long")
    job = wait_end(running, "long")
    assert job["state"] == "succeeded"
    assert running.process.wait(20) == 0
    parent.communicate()


def test_a_parent_that_never_was(start: Start) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    running = start("--parent-pid", str(gone.pid), "--exit-when-idle", "0.01")
    assert running.process.wait(20) == 0


def test_idle_begins_with_the_last_request(start: Start) -> None:
    running = start("--exit-when-idle", "0.03")
    for _ in range(8):
        running.client.get("/v1/jobs")
        time.sleep(0.4)
    assert running.process.poll() is None  # 3.2 s, but never 1.8 s without a request
    for _ in range(20):  # health is asked by anybody: it keeps nobody alive
        try:
            running.client.get("/v1/health")
        except ClientError:
            break
        time.sleep(0.4)
    assert running.process.wait(5) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_ended_in_the_middle_of_a_job(
    start: Start, tiny_scene: Path, long_job: dict[str, Any], number: signal.Signals
) -> None:
    running = start()
    running.client.put("/v1/scenes/scene", {"path": str(tiny_scene)})
    running.client.put("/v1/jobs/long", long_job)
    # a client that listens does not hold the server up
    listener = threading.Thread(target=_listen, args=(running,), daemon=True)
    listener.start()
    wait_for(lambda: running.client.get("/v1/jobs/long")["stage"] == "generate", every=0.005)
    running.process.send_signal(number)
    begun = time.monotonic()
    assert running.process.wait(10) == 0
    assert time.monotonic() - begun < 6
    again = start()
    job = wait_end(again, "long")
    assert job["state"] == "succeeded"
    assert [(s["name"], s["cached"]) for s in job["stages"]] == [("render", True), ("generate", False)]


def _listen(running: Running) -> None:
    import http.client

    address = running.server.address.removeprefix("http://")
    connection = http.client.HTTPConnection(address)
    connection.request("GET", "/v1/jobs/long/events", headers={"Authorization": f"Bearer {running.server.token}"})
    connection.getresponse().read()


def test_ended_by_request(start: Start, long_job: dict[str, Any], tiny_scene: Path) -> None:
    running = start()
    running.client.put("/v1/scenes/scene", {"path": str(tiny_scene)})
    running.client.put("/v1/jobs/long", long_job)
    wait_running(running, "long")
    assert running.client.get("/v1/health")["status"] == "busy"
    workers = children(running)
    assert workers
    running.client.post("/v1/shutdown")
    assert running.process.wait(10) == 0
    assert not psutil.wait_procs(workers, 2)[1]
    assert not address_file_of(running).exists()
    again = start()
    assert wait_end(again, "long")["state"] == "succeeded"
    wait_for(lambda: again.client.get("/v1/health")["status"] == "ready")


def test_ended_while_a_scene_is_checked(start: Start, tiny_scene: Path) -> None:
    running = start()
    (worker,) = children(running)
    answers: list[ClientError] = []

    def put() -> None:
        try:
            running.client.put("/v1/scenes/scene", {"path": str(tiny_scene)})
        except ClientError as error:
            answers.append(error)

    client = threading.Thread(target=put)
    client.start()
    checker = wait_for(lambda: _checkers(running, worker), every=0.005)[0]
    checker.suspend()  # a scene that takes for ever
    time.sleep(0.2)
    assert running.stop() == 0
    client.join(5)
    assert [error.code for error in answers] == ["ending"]
    assert not psutil.wait_procs([checker], 2)[1]


def _checkers(running: Running, worker: psutil.Process) -> list[psutil.Process]:
    """Worker processes but that one, which have begun to be workers: not the moment between fork and exec."""
    return [child for child in children(running) if child.pid != worker.pid and _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[-1:] == ["ex4d_server.worker"]
    except psutil.NoSuchProcess:  # it ended between being listed and being looked at
        return False


def address_file_of(running: Running) -> Path:
    """Where it left its address."""
    return running.state / "sidecars" / address_file(running.data).name


def test_signal_while_it_starts(tmp_path: Path) -> None:
    process = launch(tmp_path / "data", tmp_path / "state")
    wait_for(lambda: list((tmp_path / "state").glob("sidecars/*.json")), every=0.001)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=15)
    assert process.returncode == 0, (out, err)
    assert not list((tmp_path / "state").glob("sidecars/*.json"))


def test_unload_gives_the_memory_back(start: Start, tiny_scene: Path) -> None:
    running = start()
    running.client.put("/v1/scenes/scene", {"path": str(tiny_scene)})
    request = reshoot_scene_request(orbit(tiny_scene, 10.0))
    assert running.client.run("before", request)["state"] == "succeeded"
    (worker,) = children(running)
    running.client.post("/v1/unload")
    assert not psutil.wait_procs([worker], 5)[1]
    assert running.client.run("after", {**request, "seed": 5})["state"] == "succeeded"
    assert [c.pid for c in children(running)] != [worker.pid]


@pytest.mark.skipif(os.name == "nt", reason="priorities have other numbers there")
def test_workers_are_polite(sidecar: Running) -> None:
    own = psutil.Process(sidecar.process.pid).nice()
    assert [worker.nice() for worker in children(sidecar)] == [min(max(own, 0) + 5, 19)] * len(children(sidecar))


def test_other_machines_need_a_token_file(tmp_path: Path) -> None:
    said = refused(tmp_path, "--host", "0.0.0.0")
    assert "other machines can send jobs and read results" in said
    assert "--token-file" in said


def test_token_file_that_will_not_do(tmp_path: Path) -> None:
    file = tmp_path / "token.txt"
    file.write_text("hush-hush")
    said = refused(tmp_path, "--host", "0.0.0.0", "--token-file", str(file))
    assert str(file) in said
    assert "hush" not in said


@pytest.mark.parametrize(
    "content", [None, b"", b"two words that are long", "ümlauts-in-a-token".encode(), b"a\nb" * 9, b"\xff"]
)
def test_tokens_that_will_not_do(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match="token.txt"):
        read_token(file)


def test_token_from_a_file(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "token.txt"
    file.write_text(TOKEN + "\n")
    running = start("--host", "0.0.0.0", "--token-file", str(file))
    assert running.server.token == TOKEN
    port = running.server.address.rsplit(":", 1)[1]
    local = Client(type(running.server)(f"http://127.0.0.1:{port}", TOKEN))
    assert local.get("/v1/jobs")["jobs"] == []


def test_port_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(tmp_path, "--port", str(port))
    assert f"port {port}" in said
    assert "another --port" in said


def test_no_such_address(tmp_path: Path) -> None:
    file = tmp_path / "token.txt"
    file.write_text(TOKEN)
    assert "192.0.2.1" in refused(tmp_path, "--host", "192.0.2.1", "--token-file", str(file))


def test_data_folder_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert str(file) in refused(tmp_path, data=file)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("content", [b"SQLite format 3\0 but not really" * 200, bytes(5000)], ids=["torn", "zeros"])
def test_damaged_store(tmp_path: Path, content: bytes) -> None:
    data = tmp_path / "data"
    DataFolder(data).claim()
    (data / "ex4d.sqlite3").write_bytes(content)
    said = refused(tmp_path)
    assert "ex4d.sqlite3 is damaged" in said
    assert "move it away" in said
    assert (data / "ex4d.sqlite3").read_bytes() == content


def test_store_of_a_newer_version(tmp_path: Path) -> None:
    DataFolder(tmp_path / "data").claim()
    connection = sqlite3.connect(tmp_path / "data" / "ex4d.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "of a newer EX-4D" in refused(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, for a read-only mount")
def test_data_folder_on_a_read_only_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=8m", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        said = refused(tmp_path, data=disk / "data")
        assert str(disk / "data") in said
        assert "read-only" in said
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_data_folder_that_may_not_be_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o555)
    data.chmod(0o555)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        if subprocess.run(["setpriv", "--help"], capture_output=True).returncode:
            pytest.skip("root may write anywhere, and there is no setpriv to become somebody else")
        home = tmp_path / "state"
        home.mkdir(mode=0o777)
        home.chmod(0o777)
        _let_in(tmp_path)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-m", "ex4d_core.cli"]
    else:
        command = [sys.executable, "-m", "ex4d_core.cli"]
    done = subprocess.run(
        [*command, "serve", "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "EX4D_STATE_DIR": str(tmp_path / "state")},
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert str(data) in done.stderr
    assert "may not write there" in done.stderr


def _let_in(folder: Path) -> None:
    """Let anybody pass through a test's folders."""
    for parent in [folder, *folder.parents]:
        if parent.parent != parent and parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o011)
