"""What the tests of the sidecar from Blender do again and again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import module

SECONDS = 180.0  # long after what is waited for has come on a busy machine


def tick_until(condition: Callable[[], Any], seconds: float = SECONDS, what: str = "it") -> Any:
    """Tick as Blender's timer does until something is so."""
    sidecar = module("sidecar")
    until = time.monotonic() + seconds
    while not (value := condition()):
        now, said = sidecar.connection(), module("sidecar.running").complaints()
        jobs = [(job.id, job.state, job.problem) for job in now.jobs]
        assert time.monotonic() < until, f"{what} never came; {now.state}: {now.message} {said} {jobs}"
        sidecar.tick()
        time.sleep(0.01)
    return value


def tick_for(seconds: float) -> None:
    """Tick for a while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        module("sidecar").tick()
        time.sleep(0.01)


def started() -> Any:
    """The connection, ready, to a sidecar that the button has started."""
    assert bpy.ops.ex4d.start_sidecar() == {"FINISHED"}
    now = module("sidecar").connection()
    assert now.state == "ready"
    return now


def kill_sidecars(state: Path | None = None) -> None:
    """End the sidecars of a test as a crash does, frozen ones too."""
    for server in module("client").discover(state):
        os.kill(server.pid, signal.SIGKILL)


def let_go() -> None:
    """As a Blender that has just been started: it remembers nothing, and is connected to nothing."""
    module("sidecar.running").close_all()
    module("footage.filling").awaited.forget()
    module("generating.arriving").awaited.forget()
    module("generating.preflight").forget()
    module("sidecar.ticking").reset()


def as_with_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators return at once and ticks go on, as where an artist looks on."""
    monkeypatch.setattr(module("sidecar.waiting"), "operators_wait", lambda: False)
