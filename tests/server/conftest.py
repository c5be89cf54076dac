"""Fixtures of the server tests: real sidecar processes in folders of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ex4d_server.client import Client, Server
from raw_http import run_job

from ex4d_core.clip import write_lossless

START_SECONDS = 60.0


@dataclass
class Running:
    """A sidecar process."""

    process: subprocess.Popen[str]
    server: Server
    data: Path
    state: Path

    @property
    def client(self) -> Client:
        """A blocking client for it."""
        return Client(self.server)

    def kill(self) -> None:
        """As a crash does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


Start = Callable[..., Running]


def launch(data: Path, state: Path, *options: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `ex4d serve`; says its address on stdout when it answers."""
    return subprocess.Popen(
        [sys.executable, "-m", "ex4d_core.cli", "serve", "--data", str(data), "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EX4D_STATE_DIR": str(state), **(environment or {})},
    )


def wait_started(process: subprocess.Popen[str], data: Path, state: Path) -> Running:
    """Read the address of a sidecar that was launched."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        raise AssertionError(f"the sidecar did not start: {process.stderr.read()}")
    file = json.loads(json.loads(line)["address_file"] and Path(json.loads(line)["address_file"]).read_text())
    facts = {name: file[name] for name in ("address", "token", "pid", "version", "api", "data")}
    running = Running(process, Server(**facts), data, state)
    deadline = time.monotonic() + START_SECONDS
    while running.client.get("/v1/health")["status"] == "starting":
        assert time.monotonic() < deadline, "the worker does not start"
        time.sleep(0.02)
    return running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts sidecars, in the test's own folders unless told otherwise, and ends them after the test."""
    running: list[Running] = []

    def begin(*options: str, data: Path | None = None, environment: dict[str, str] | None = None) -> Running:
        data, state = data or tmp_path / "data", tmp_path / "state"
        process = launch(data, state, *options, environment=environment)
        found = wait_started(process, data, state)
        running.append(found)
        return found

    yield begin
    for one in running:
        end(one)


def end(one: Running) -> None:
    """End a sidecar, whatever state it is in."""
    if one.process.poll() is None:
        one.process.kill()
    one.process.wait()
    for stream in (one.process.stdout, one.process.stderr):
        if stream is not None:
            stream.close()


@pytest.fixture(scope="session")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sidecar that many tests share: they leave it running, and use ids of their own."""
    folder = tmp_path_factory.mktemp("sidecar")
    data, state = folder / "data", folder / "state"
    one = wait_started(launch(data, state), data, state)
    yield one
    end(one)


@pytest.fixture(scope="session")
def reshot(sidecar: Running, tiny_clip: Path) -> dict[str, Any]:
    """A finished reshoot of the shared sidecar: the job's document."""
    job = run_job(sidecar.server, reshoot_request(tiny_clip), "reshot")
    assert job["state"] == "succeeded", (job["message"], job["problem"])
    return job


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 6 frames of 64x48 pixels: a square that moves over a gradient."""
    from fractions import Fraction

    frames: list[Any] = []
    for t in range(6):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[..., 0] = np.arange(64, dtype=np.uint8) * 3
        frame[..., 1] = np.arange(48, dtype=np.uint8)[:, None] * 4
        frame[16:32, 10 + 4 * t : 26 + 4 * t] = (200, 60, 40)
        frames.append(frame)
    path = tmp_path_factory.mktemp("clip") / "tiny.mp4"
    write_lossless(path, frames, Fraction(12))
    return path


def reshoot_request(clip: Path, **changes: Any) -> dict[str, Any]:
    """A small job that goes through every stage."""
    return {"kind": "reshoot", "footage": {"path": str(clip)}, "move": {"preset": "orbit", "yaw": 20.0}, **changes}
