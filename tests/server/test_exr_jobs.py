"""EXR frames as a stage of their own, and what engines can be asked for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from conftest import Running, Start, reshoot_request
from ex4d_server.cache import Cache
from ex4d_server.documents import ModelStatus, ReshootJob, canonical
from ex4d_server.folders import DataFolder
from ex4d_server.preflight import preflight
from ex4d_server.store import Store
from job_cases import make_scene, orbit, reshoot_scene_request, wait_for
from raw_http import ask, run_job, wait_job

from ex4d_core.clip import load_clip
from ex4d_core.footprint import exr_bytes, generate_bytes, scratch_bytes
from ex4d_core.images import read_image


def names(running: Running, job: str) -> set[str]:
    return {file["name"] for file in ask(running.server, "GET", f"/v1/jobs/{job}/files").json()["files"]}


def stages(job: dict[str, Any]) -> list[tuple[str, bool]]:
    assert job["state"] == "succeeded", (job["message"], job["problem"])
    return [(stage["name"], stage["cached"]) for stage in job["stages"]]


def test_a_job_gives_exr_beside_the_pictures(sidecar: Running, reshot: dict[str, Any], tiny_clip: Path) -> None:
    job = run_job(sidecar.server, reshoot_request(tiny_clip, exr=True))
    assert stages(job) == [("scene", True), ("render", True), ("generate", True), ("exr", False)]
    files, plain = names(sidecar, job["id"]), names(sidecar, "reshot")
    assert files - plain == {f"exr/{t:06d}.exr" for t in range(6)}
    assert plain <= files
    folder = Path(job["result"]["path"])
    seen = load_clip(folder / "mask.mp4").frames[..., 0] > 127
    with OpenEXR.File(str(folder / "exr/000003.exr"), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    np.testing.assert_array_equal(channels["mask.Y"], seen[3])
    assert channels["depth.Z"].shape == read_image(folder / "output/000003.png").shape[:2]
    again = run_job(sidecar.server, reshoot_request(tiny_clip, exr=True))
    assert stages(again)[-1] == ("exr", True)
    assert again["result"]["path"] == job["result"]["path"]
    without = run_job(sidecar.server, reshoot_request(tiny_clip))
    assert without["result"]["path"] == reshot["result"]["path"]


def test_a_generate_from_a_shot_with_exr(sidecar: Running, reshot: dict[str, Any], tiny_clip: Path) -> None:
    first = run_job(sidecar.server, reshoot_request(tiny_clip, exr=True))
    plain = run_job(sidecar.server, {"kind": "generate", "shot": first["id"], "seed": 5})
    assert stages(plain) == [("generate", False)]
    assert not any(name.startswith("exr") for name in names(sidecar, plain["id"]))
    with_exr = run_job(sidecar.server, {"kind": "generate", "shot": first["id"], "seed": 5, "exr": True})
    assert stages(with_exr) == [("generate", True), ("exr", False)]
    assert "exr/000005.exr" in names(sidecar, with_exr["id"])


@pytest.mark.timed
def test_cancelled_in_the_exr_stage_the_pictures_stay(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    running = start()
    scene = make_scene(tiny_clip, tmp_path)
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    request = reshoot_scene_request(orbit(scene, 20.0, frames=200), exr=True)
    running.client.put("/v1/jobs/long", request)
    wait_for(lambda: running.client.get("/v1/jobs/long")["stage"] == "exr", 60, every=0.002)
    running.client.post("/v1/jobs/long/cancel")
    started = time.monotonic()
    wait_for(lambda: running.client.get("/v1/jobs/long")["state"] == "cancelled", every=0.005)
    assert time.monotonic() - started < 2
    running.client.post("/v1/jobs/long/retry")
    done = wait_for(lambda: (j := running.client.get("/v1/jobs/long"))["state"] == "succeeded" and j, 60)
    assert stages(done) == [("render", True), ("generate", True), ("exr", False)]
    assert len(list((Path(done["result"]["path"]) / "exr").iterdir())) == 200


def test_the_preflight_counts_the_exr(tmp_path: Path, tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.claim()
    folder.make()
    path = orbit(make_scene(tiny_clip, tmp_path), 20.0)
    asked: list[int] = []
    monkeypatch.setattr("ex4d_server.preflight.disk_shortage", lambda root, needed, what, free: asked.append(needed))
    store = Store(folder.database)
    try:
        for exr in (False, True):
            request = {"kind": "reshoot", "scene": "scene", "trajectory": path, "exr": exr}
            preflight(ReshootJob.model_validate(request), store, Cache(folder, store, limit_bytes=0))
    finally:
        store.close()
    size = (64, 48, 6)
    needed = generate_bytes(*size) + scratch_bytes(*size)
    assert needed in asked
    assert needed + exr_bytes(*size) in asked


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"quality": "fine"}, "The engine draft has no quality 'fine': leave it out."),
        ({"keep_source": True}, "The engine draft cannot be asked to keep the source: leave that out."),
        ({"memory": "fp8", "steps": 4}, "The engine draft has no use for memory and steps: leave that out."),
    ],
)
def test_what_the_engine_does_not_know_is_refused(sidecar: Running, asked: dict[str, Any], says: str) -> None:
    for request in (
        {"kind": "generate", "shot": "nothing"},
        {"kind": "reshoot", "scene": "a", "move": {"preset": "arc"}},
    ):
        body = {**request, **asked}
        assert ask(sidecar.server, "PUT", "/v1/jobs/knows-not", body).problem(422, "bad-input")["detail"] == says
        assert ask(sidecar.server, "POST", "/v1/preflight", body).problem(422, "bad-input")["detail"] == says
    ask(sidecar.server, "GET", "/v1/jobs/knows-not").problem(404, "no-job")


def test_capabilities_tell_what_an_engine_reads(sidecar: Running) -> None:
    told = ask(sidecar.server, "GET", "/v1/capabilities").json()
    draft = next(engine for engine in told["engines"] if engine["name"] == "draft")
    assert [draft[name] for name in ("qualities", "prompt", "seed", "keep_source", "setup")] == [[], *[False] * 4]
    known = {model["name"] for model in told["models"]}
    assert all(engine["models"] and set(engine["models"]) <= known for engine in told["engines"] if engine["setup"])
    schema = ask(sidecar.server, "GET", "/v1/openapi.json").json()["components"]["schemas"]["ModelStatus"]
    fields = {"name", "title", "size_bytes", "left_bytes", "licence", "commercial", "where", "folder", "state"}
    assert set(schema["properties"]) == set(ModelStatus.model_fields) == fields


def test_a_job_that_an_earlier_version_stored_gets_the_defaults(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    """An engine is updated while jobs wait."""
    folder = DataFolder(tmp_path / "data")
    folder.claim()
    folder.make()
    store = Store(folder.database)
    path = orbit(make_scene(tiny_clip, tmp_path), 20.0)
    request = canonical(ReshootJob.model_validate({"kind": "reshoot", "scene": "scene", "trajectory": path}))
    store.add_job("old", {k: v for k, v in request.items() if k not in ("quality", "keep_source", "exr")})
    store.close()
    running = start()
    assert wait_job(running.server, "old")["problem"]["code"] == "bad-input", "there is no scene yet"
    running.client.put("/v1/scenes/scene", {"path": str(tmp_path / "scene.ex4d")})
    running.client.post("/v1/jobs/old/retry")
    assert wait_job(running.server, "old", "succeeded")


def test_the_risk_pass_as_exr_is_one_of_a_job_s_files(sidecar: Running, tiny_clip: Path) -> None:
    job = run_job(sidecar.server, reshoot_request(tiny_clip, passes=["risk-exr"]))
    risk = {name for name in names(sidecar, job["id"]) if name.startswith("risk")}
    assert risk == {f"risk-exr/{t:06d}.exr" for t in range(6)}
    content = ask(sidecar.server, "GET", f"/v1/jobs/{job['id']}/files/risk-exr/000003.exr")
    assert (content.status, content.body[:4]) == (200, b"\x76\x2f\x31\x01")
