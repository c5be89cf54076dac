"""Jobs with known results for the tests of crashes, lifecycle and load, and how their results are compared."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Running

from ex4d_core.camera import trajectory_to_document
from ex4d_core.ingest import import_scene
from ex4d_core.presets import Move, preset
from ex4d_core.scene import Scene

TERMINAL = ("succeeded", "failed", "cancelled")


def make_scene(clip: Path, folder: Path, **options: Any) -> Path:
    """A scene folder made without a sidecar."""
    path = folder / "scene.ex4d"
    import_scene(clip, path, **options)
    return path


def orbit(scene: Path, yaw: float, **timing: Any) -> dict[str, Any]:
    """The document of an orbit by so many degrees."""
    return trajectory_to_document(preset(Scene.open(scene), Move("orbit", yaw=yaw), **timing))


def render_request(trajectory: dict[str, Any], scene: str = "scene", **changes: Any) -> dict[str, Any]:
    """A render of a scene that the sidecar has."""
    return {"kind": "render", "scene": scene, "trajectory": trajectory, **changes}


def reshoot_scene_request(trajectory: dict[str, Any], scene: str = "scene", **changes: Any) -> dict[str, Any]:
    """A render and what the draft engine makes of it."""
    return {"kind": "reshoot", "scene": scene, "trajectory": trajectory, **changes}


def wait_for(condition: Callable[[], Any], seconds: float = 30.0, every: float = 0.02) -> Any:
    """Poll until a condition gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s for {condition}"
        time.sleep(every)


def wait_running(running: Running, job: str, steps: int = 1) -> None:
    """Until a worker is in the middle of a job: it told of its progress so many times."""

    def is_in_the_middle() -> bool:
        status = running.client.get(f"/v1/jobs/{job}")
        assert status["state"] in ("queued", "running"), f"the job was {status['state']} too soon"
        return status["state"] == "running" and status["fraction"] is not None and status["fraction"] > 0

    for _ in range(steps):
        wait_for(is_in_the_middle, every=0.005)


def wait_end(running: Running, job: str, seconds: float = 60.0) -> dict[str, Any]:
    """A job's document once it is over."""

    def over() -> Any:
        status = running.client.get(f"/v1/jobs/{job}")
        return status if status["state"] in TERMINAL else None

    return wait_for(over, seconds)


def folder_hash(folder: Path) -> str:
    """Of what a result shows: every file but `shot.json`, which holds timings."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "shot.json":
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    """Read the job store from outside."""
    connection = sqlite3.connect(f"file:{data / 'ex4d.sqlite3'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def integrity(data: Path) -> str:
    """What SQLite says about its file: "ok"."""
    return rows(data, "PRAGMA integrity_check")[0][0]
