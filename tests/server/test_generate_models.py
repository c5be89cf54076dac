"""Diffusion engines as jobs: tiny models of the real classes, from a path given in the request."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import Running, end, launch, reshoot_request, wait_started
from ex4d_server.worker import Worker
from job_cases import folder_hash, wait_for
from raw_http import ask, run_job

from ex4d_core.engines import EngineSetup

sys.path.append(str(Path(__file__).resolve().parents[1] / "core" / "generate"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ex4d-diffusers and vace-1.3b."""
    from tiny import models

    folder = tmp_path_factory.mktemp("models")
    for name in ("ex4d-diffusers", "vace-1.3b"):
        models.LAYOUTS[name](folder / name, 0)
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    one = _sidecar(tmp_path_factory.mktemp("generating"))
    yield one
    end(one)


def _sidecar(folder: Path) -> Running:
    data, state = folder / "data", folder / "state"
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_CACHE": str(folder / "hub"), "EX4D_CACHE_DIR": str(folder / "cache")}
    return wait_started(launch(data, state, environment=environment), data, state)


def request(clip: Path, models: Path, engine: str = "ex4d", **changes: Any) -> dict[str, Any]:
    return reshoot_request(clip, engine=engine, model_dir={"path": str(models)}, steps=1, **changes)


def finished(running: Running, asked: dict[str, Any]) -> tuple[Path, bool]:
    """The result's folder, and whether the pictures came from disk."""
    job = run_job(running.server, asked)
    assert job["state"] == "succeeded", (job["message"], job["problem"])
    return Path(job["result"]["path"]), {stage["name"]: stage["cached"] for stage in job["stages"]}["generate"]


def test_a_job_with_models_from_a_folder(running: Running, tiny_clip: Path, models: Path, tmp_path: Path) -> None:
    asked = request(tiny_clip, models / "ex4d-diffusers", seed=3)
    assert ask(running.server, "POST", "/v1/preflight", asked).json()["fits"]
    job = run_job(running.server, asked, "pictures")
    assert job["state"] == "succeeded", (job["message"], job["problem"])
    folder = Path(job["result"]["path"])
    assert len(list((folder / "output").glob("*.png"))) == 6
    assert (folder / "output.mp4").stat().st_size > 0
    document = json.loads((folder / "shot.json").read_text("utf-8"))
    assert (document["request"]["engine"], document["request"]["seed"], document["request"]["steps"]) == ("ex4d", 3, 1)
    assert document["result"]["engine"]["profile"]["steps"] == 1
    assert str(models) not in (folder / "shot.json").read_text("utf-8"), "results go to other machines"
    preview = ask(running.server, "GET", "/v1/jobs/pictures/preview")
    assert (preview.status, preview.body[:2]) == (200, b"\xff\xd8")
    # the same weights elsewhere are the same request, other settings are not
    shutil.copytree(models / "ex4d-diffusers", tmp_path / "copy")
    assert finished(running, request(tiny_clip, tmp_path / "copy", seed=3)) == (folder, True)
    # another engine takes the place of the first
    other, cached = finished(running, request(tiny_clip, models / "vace-1.3b", "vace-1.3b", seed=3, keep_source=True))
    assert not cached
    assert folder_hash(other) != folder_hash(folder)
    assert cv2.imread(str(other / "output" / "000005.png")).std() > 5


def test_a_worker_keeps_one_model_loaded(models: Path) -> None:
    """Two do not fit; the draft engine, which has none, stays beside it."""
    worker = Worker.__new__(Worker)
    worker._engines = {}
    setup = EngineSetup(model_dir=models / "ex4d-diffusers")
    draft, first = worker._engine("draft", EngineSetup()), worker._engine("ex4d", setup)
    assert worker._engine("ex4d", setup) is first
    assert worker._engine("draft", EngineSetup()) is draft
    steps = worker._engine("ex4d", EngineSetup(model_dir=models / "ex4d-diffusers", steps=4))
    assert set(worker._engines.values()) == {draft, steps}
    other = worker._engine("vace-1.3b", EngineSetup(model_dir=models / "vace-1.3b"))
    assert set(worker._engines.values()) == {draft, other}


def test_models_that_are_not_there_are_said_before_any_work(running: Running, tiny_clip: Path, tmp_path: Path) -> None:
    absent = request(tiny_clip, tmp_path / "absent")
    for method, target in (("PUT", "/v1/jobs/absent"), ("POST", "/v1/preflight")):
        assert "no folder" in ask(running.server, method, target, absent).problem(422, "bad-input")["detail"]
    relative = request(tiny_clip, Path("models"))
    for method, target in (("PUT", "/v1/jobs/relative"), ("POST", "/v1/preflight")):
        ask(running.server, method, target, relative).problem(422, "bad-path")
    bare = reshoot_request(tiny_clip, engine="ex4d")
    shortages = ask(running.server, "POST", "/v1/preflight", bare).json()["shortages"]
    assert any("ex4d models download" in each["message"] for each in shortages if each["what"] == "engine")
    job = run_job(running.server, bare)
    assert job["state"] == "failed"
    assert "ex4d models download" in job["problem"]["detail"]


@pytest.mark.slow
def test_cancelled_while_it_denoises_it_gives_the_same_when_it_is_run_again(
    running: Running, tiny_clip: Path, models: Path, tmp_path: Path
) -> None:
    asked = {**request(tiny_clip, models / "ex4d-diffusers", seed=8, quality="cached"), "steps": 60}
    client = running.client
    client.put("/v1/jobs/stopped", asked)
    wait_for(lambda: "denoising" in client.get("/v1/jobs/stopped")["message"], 120, every=0.01)
    client.post("/v1/jobs/stopped/cancel")
    wait_for(lambda: client.get("/v1/jobs/stopped")["state"] == "cancelled", 20)
    client.post("/v1/jobs/stopped/retry")
    done = wait_for(lambda: (j := client.get("/v1/jobs/stopped"))["state"] in ("succeeded", "failed") and j, 240)
    assert done["state"] == "succeeded", done["problem"]
    fresh = _sidecar(tmp_path)
    try:
        folder, _ = finished(fresh, asked)
        assert folder_hash(folder / "output") == folder_hash(Path(done["result"]["path"]) / "output")
    finally:
        end(fresh)


def test_an_engine_without_models_is_told_before_anything_is_imported(running: Running, tiny_clip: Path) -> None:
    job = run_job(running.server, reshoot_request(tiny_clip, engine="vace-1.3b", frames=3))
    assert (job["state"], job["stages"]) == ("failed", [])
    assert "wan2.1-vace-1.3b" in job["problem"]["detail"]
