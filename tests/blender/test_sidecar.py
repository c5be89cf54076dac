"""The connection to a real sidecar: started, found, stopped, killed, frozen, and found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
from conftest import library, module
from sidecar_steps import started, tick_until


def test_start_and_stop(own_sidecar: Any) -> None:
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


def test_render_shot(own_sidecar: Any, small_scene: Path, library_python: str, tmp_path: Path) -> None:
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
