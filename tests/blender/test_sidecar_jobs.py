"""Work for the sidecar from Blender: shots rendered, jobs cancelled, and a sidecar on another machine."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import pytest
from conftest import library, module
from sidecar_steps import started, tick_for, tick_until

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


@contextmanager
def health_of_version(api: int) -> Iterator[tuple[str, list[str]]]:
    """A server that says it is a sidecar of some version: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps({"status": "ready", "detail": "", "version": "9", "api": api}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.parametrize(("api", "older"), [(2, "the extension"), (0, "the sidecar")])
def test_a_sidecar_of_another_version_is_refused(own_sidecar: Any, api: int, older: str) -> None:
    with health_of_version(api) as (address, asked):
        with pytest.raises(RuntimeError, match=f"version {api} of the interface .* version 1: update {older}"):
            bpy.ops.ex4d.connect_sidecar(address=address, token="t" * 20)
        tick_for(0.5)
        assert asked == ["/v1/health"]  # and its token was not looked at, nor asked again
    assert module("sidecar").connection().state == "failed"


def test_another_machine_by_address_and_token(shared_sidecar: Any, tmp_path: Path, small_scene: Path) -> None:
    (real,) = module("client").discover()
    os.environ["EX4D_STATE_DIR"] = str(tmp_path / "elsewhere")  # set back by the fixture: nothing is announced here
    shared_sidecar.address, shared_sidecar.token = real.address, "wrong-token-0123456789"
    with pytest.raises(RuntimeError, match="token"):
        bpy.ops.ex4d.connect_sidecar()
    assert bpy.ops.ex4d.connect_sidecar(token=real.token) == {"FINISHED"}
    now = module("sidecar").connection()
    assert now.state == "ready"
    assert not now.is_local
    assert shared_sidecar.use_address
    assert not bpy.ops.ex4d.stop_sidecar.poll()
    module("sidecar.ticking").reset()  # Blender is opened again
    module("sidecar.launching").connect_at_start()
    now = module("sidecar").connection()
    tick_until(lambda: now.state == "ready", what="the address of the preferences")
    assert not now.is_local


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("http://192.0.2.1:8188", "http://192.0.2.1:8188"),
        ("http://[2001:db8::1]:1", "http://[2001:db8::1]:1"),
        ("192.0.2.1:7000", "http://192.0.2.1:7000"),
        (" box.local:7000/ ", "http://box.local:7000"),
        ("gpu-box", "http://gpu-box"),
    ],
)
def test_offline_blender_goes_into_no_network(own_sidecar: Any, typed: str, meant: str) -> None:
    assert not bpy.app.online_access
    with pytest.raises(RuntimeError, match=f"{re.escape(meant)} is another machine .* Allow Online Access"):
        bpy.ops.ex4d.connect_sidecar(address=typed, token="t" * 20)


@pytest.mark.parametrize("typed", ["127.0.0.1:{}", "localhost:{}/", "http://127.0.0.1:{}"])
def test_this_machine_needs_no_network_and_no_scheme(shared_sidecar: Any, tmp_path: Path, typed: str) -> None:
    (real,) = module("client").discover()
    os.environ["EX4D_STATE_DIR"] = str(tmp_path / "elsewhere")  # set back by the fixture: nothing is announced here
    address = typed.format(real.address.rpartition(":")[2])
    assert bpy.ops.ex4d.connect_sidecar(address=address, token=real.token) == {"FINISHED"}
    assert module("sidecar").connection().state == "ready"
    assert shared_sidecar.address.startswith("http://")


def test_with_online_access_nothing_is_said_about_it(own_sidecar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[Any] = []
    launching, now = module("sidecar.launching"), module("sidecar").connection()
    monkeypatch.setattr(launching.bpy, "app", SimpleNamespace(online_access=True))
    monkeypatch.setattr(type(now), "connect", lambda _, server: followed.append(server.address))
    own_sidecar.address, own_sidecar.token = "box.local:7000", "t" * 20
    launching.connect_address()
    assert followed == ["http://box.local:7000"]


@pytest.mark.parametrize("typed", ["ftp://box:1", "box:port", "two words:1", "http://"])
def test_what_is_no_address_is_said_first(own_sidecar: Any, typed: str) -> None:
    with pytest.raises(RuntimeError, match="address is unusable: write it as http://HOST:PORT"):
        bpy.ops.ex4d.connect_sidecar(address=typed, token="t" * 20)


def test_jobs_are_cancelled_retried_and_removed(own_sidecar: Any, small_scene: Path, library_python: str) -> None:
    now, sidecar = started(), module("sidecar")
    document = json.loads(library(library_python, ARC, small_scene))
    document["frames"] = document["frames"] * 400  # long enough to be caught
    task = sidecar.RenderShot(placed(small_scene), document, [], Path(bpy.app.tempdir) / "shot")
    ended: list[Any] = []
    sidecar.start(task, on_end=ended.append)
    tick_until(lambda: (job := now.job(task.job_id)) and job.state == "running", what="the render")
    assert sidecar.jobs()[0].id == task.job_id
    bpy.ops.ex4d.cancel_job(job=task.job_id)
    tick_until(lambda: ended, what="the end of the task")
    assert "cancelled" in str(ended[0].error)
    tick_until(lambda: now.job(task.job_id).state == "cancelled", what="the cancel")
    bpy.ops.ex4d.retry_job(job=task.job_id)
    assert now.job(task.job_id).state in ("queued", "running")
    bpy.ops.ex4d.cancel_job(job=task.job_id)
    tick_until(lambda: now.job(task.job_id).state == "cancelled", what="the second cancel")
    bpy.ops.ex4d.remove_job(job=task.job_id)
    tick_until(lambda: now.job(task.job_id) is None, what="the removal")
    with pytest.raises(RuntimeError, match="has no job"):
        bpy.ops.ex4d.retry_job(job=task.job_id)


def test_a_scene_goes_to_another_machine(
    own_sidecar: Any, small_scene: Path, tmp_path: Path, library_python: str
) -> None:
    """Packed, uploaded and rendered there; nothing but HTTP passes. No other test has made the scene known there."""
    started()
    (real,) = module("client").discover()
    os.environ["EX4D_STATE_DIR"] = str(tmp_path / "elsewhere")
    bpy.ops.ex4d.connect_sidecar(address=real.address, token=real.token)
    sidecar = module("sidecar")
    document = json.loads(library(library_python, ARC, small_scene))
    events: list[Any] = []
    shot = sidecar.RenderShot(placed(small_scene), document, ["depth"], tmp_path / "shot")
    assert sidecar.run(shot, events.append) == tmp_path / "shot"
    assert {"pack", "upload", "download"} <= {event.data.get("stage") for event in events}
    assert len(list((tmp_path / "shot" / "depth").iterdir())) == 8
    events.clear()
    sidecar.run(sidecar.RenderShot(placed(small_scene), document, [], tmp_path / "shot"), events.append)
    assert "upload" not in {event.data.get("stage") for event in events}  # it is known by its content
