"""The connection to a real sidecar: started, found, stopped, killed, frozen, and found again."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import EXTENSION, library, module

SECONDS = 60.0


def tick_until(condition: Callable[[], Any], seconds: float = SECONDS, what: str = "") -> Any:
    """Tick as Blender's timer does until something is so."""
    sidecar = module("sidecar")
    until = time.monotonic() + seconds
    while not (value := condition()):
        now = sidecar.connection()
        assert time.monotonic() < until, (
            f"{what} never came; {now.state}: {now.message}; {module('sidecar.running').complaints()}"
        )
        sidecar.tick()
        time.sleep(0.01)
    return value


@pytest.fixture
def preferences(library_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The extension's preferences, with the library's Python and a data folder of the test's own."""
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))
    found = bpy.context.preferences.addons[EXTENSION].preferences
    found.executable, found.data_folder = library_python, str(tmp_path / "data")
    module("sidecar.ticking").reset()
    yield found
    stop()
    for name in ("executable", "data_folder", "address", "token", "use_address", "outputs"):
        found.property_unset(name)


def stop() -> None:
    """End the sidecars of a test, and wait for them."""
    client = module("client")
    for server in client.discover():
        os.kill(server.pid, signal.SIGCONT)
        os.kill(server.pid, signal.SIGKILL)
    module("sidecar.running").close_all()
    module("sidecar.ticking").reset()


def started() -> Any:
    """The connection, ready, to a sidecar that the button has started."""
    assert bpy.ops.ex4d.start_sidecar() == {"FINISHED"}
    now = module("sidecar").connection()
    assert now.state == "ready"
    return now


def test_start_and_stop(preferences: Any) -> None:
    now = started()
    assert now.is_local
    assert now.health["api"] == 1
    assert now.capabilities["depth_estimators"]
    assert module("sidecar").jobs() == []
    pid = now.server.pid
    assert bpy.ops.ex4d.stop_sidecar() == {"FINISHED"}
    assert now.state == "off"
    assert now.server is None
    tick_until(lambda: not module("client").discover(), what="its end")
    again = started()  # the jobs' folder is free again
    assert again.server.pid != pid


ARC = """
import json, sys
from pathlib import Path
from ex4d_core.camera import trajectory_to_document
from ex4d_core.presets import Move, preset
from ex4d_core.scene import Scene
print(json.dumps(trajectory_to_document(preset(Scene.open(Path(sys.argv[1])), Move("orbit", yaw=20.0)))))
"""


def placed(folder: Path) -> Any:
    """Footage as `placed.find` gives it: an empty with the properties, and nothing else."""
    found = module("placed")
    empty = bpy.data.objects.new("footage", None)
    bpy.context.scene.collection.objects.link(empty)
    empty[found.FOOTAGE_ID], empty[found.ROLE], empty[found.FOLDER] = "a", "empty", str(folder)
    return found.Placed("a", empty, None, None)


def test_render_shot(preferences: Any, small_scene: Path, library_python: str, tmp_path: Path) -> None:
    started()
    sidecar = module("sidecar")
    document = json.loads(library(library_python, ARC, small_scene))
    shot, events = tmp_path / "shots" / "a", []
    first = sidecar.RenderShot(placed(small_scene), document, [], shot)
    assert sidecar.run(first, events.append) == shot
    assert {path.name for path in shot.iterdir()} == {"color.mp4", "mask.mp4", "shot.json", "trajectory.json"}
    assert len(json.loads((shot / "shot.json").read_text())["frames"]) == 8
    assert "job" in {event.kind for event in events}
    ended: list[Any] = []
    quick = sidecar.RenderShot(placed(small_scene), document, [], shot, files=["shot.json"])
    sidecar.start(quick, on_end=ended.append)
    tick_until(lambda: ended, what="the shot")
    assert ended[0].error is None
    assert [path.name for path in shot.iterdir()] == ["shot.json"]  # replaced, not mixed with the older one
    tick_until(lambda: sidecar.connection().job(quick.job_id).state == "succeeded", what="the list")
