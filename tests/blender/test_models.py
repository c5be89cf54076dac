"""Download of models from the Engine panel: asked for by a job of the sidecar, with its progress, end and refusals."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import pytest
from conftest import module
from sidecar_steps import as_with_windows, started, tick_until
from test_generating import make_shot
from test_panels import Layout, context, drawn
from test_tick import connect, serving

BIG, RESEARCH = "lab/big", "lab/nc"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blender may go online."""
    monkeypatch.setattr(bpy.context.preferences.system, "use_online_access", True)


@pytest.fixture
def server(own_sidecar: Any, library_python: str) -> Iterator[Any]:
    """The connection to a sidecar that knows both, ready; `end(state)` ends the newest job."""
    with serving(library_python, str(Path(__file__).with_name("models_server.py"))) as address:
        now = connect(address)
        tick_until(lambda: now.state == "ready", what="the server")

        def end(state: str) -> None:
            urllib.request.urlopen(urllib.request.Request(f"{address}/end?state={state}", method="POST")).read()

        yield SimpleNamespace(now=now, end=end)
        module("engine.doing").forget()


def model(name: str) -> Any:
    return module("engine.models").required_model(name)


def remedy() -> str:
    return module("engine.doing").error().remedy


def test_what_it_is_and_what_it_costs(server: Any) -> None:
    seen = drawn()
    assert {"Big", "8.2 GB, Apache-2.0, hub.invalid", "8.2 GB, CC-BY-NC-4.0, hub.invalid"} <= set(seen)
    assert seen.count("ex4d.download_model") == 2
    assert seen.count("Not for commercial work") == 1


@pytest.mark.parametrize("name", [BIG, RESEARCH])
def test_the_dialog_says_it_all(server: Any, name: str) -> None:
    kind = module("engine.downloading").EX4D_OT_download_model
    seen: list[str] = []
    dialog = type("Dialog", (), {"draw": kind.draw, "model": name, "layout": Layout(seen)})()
    dialog.bl_rna = bpy.ops.ex4d.download_model.get_rna_type()
    dialog.draw(context())
    said = " ".join(seen)
    for fact in ("8.2 GB from hub.invalid", "Into /models/big", "Licence: ", "Blender is set to stay offline"):
        assert fact in said
    assert ("accept_licence" in seen) == ("Not for commercial work" in seen) == (name == RESEARCH)


def test_nothing_is_asked_for_offline_or_without_the_licence(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    as_with_windows(monkeypatch)
    with pytest.raises(RuntimeError, match="stay offline: switch on Allow Online Access"):
        bpy.ops.ex4d.download_model(model=BIG)
    assert remedy() == "extensions.userpref_allow_online"
    assert remedy() in drawn()
    monkeypatch.setattr(bpy.context.preferences.system, "use_online_access", True)
    with pytest.raises(RuntimeError, match=r"Non-Commercial \(CC-BY-NC-4.0\) allows no commercial work"):
        bpy.ops.ex4d.download_model(model=RESEARCH)
    with pytest.raises(RuntimeError, match="knows no model 'lab/none'"):
        bpy.ops.ex4d.download_model(model="lab/none")
    server.now.refresh()
    assert not server.now.jobs


def test_progress_cancel_retry_and_the_model_is_there(
    server: Any, online: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_with_windows(monkeypatch)
    assert bpy.ops.ex4d.download_model(model=RESEARCH, accept_licence=True) == {"FINISHED"}
    job = tick_until(lambda: module("engine.models").download_of(model(RESEARCH)), what="the job")
    assert (job.kind, job.name, job.state, job.fraction) == ("models", "lab-nc", "running", 0.25)
    seen = drawn()
    assert "weights: 2 of 8 GB" in seen
    assert seen.count("ex4d.download_model") == 1
    with pytest.raises(RuntimeError, match="Non-Commercial is being downloaded: wait"):
        bpy.ops.ex4d.download_model(model=RESEARCH, accept_licence=True)
    bpy.ops.ex4d.cancel_job(job=job.id)
    tick_until(lambda: model(RESEARCH).state == "incomplete", what="the cancelled download")
    bpy.ops.ex4d.retry_job(job=job.id)
    tick_until(lambda: server.now.job(job.id).state == "running", what="the retry")
    server.end("failed")
    tick_until(lambda: server.now.job(job.id).state == "failed", what="the failure")
    seen = drawn()
    assert "8.2 GB of disk and 1.0 GB are free" in " ".join(seen)
    assert "ex4d.retry_job" in seen
    bpy.ops.ex4d.retry_job(job=job.id)
    tick_until(lambda: server.now.job(job.id).state == "running", what="the second retry")
    server.end("succeeded")
    tick_until(lambda: model(RESEARCH).state == "ready", what="the model")
    seen = drawn()
    assert "/models/big" in seen
    assert seen.count("ex4d.download_model") == 1
    with pytest.raises(RuntimeError, match="on the sidecar's machine already"):
        bpy.ops.ex4d.download_model(model=RESEARCH)


def test_generate_leads_to_the_model_that_its_engine_needs(
    server: Any, online: None, small_scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_with_windows(monkeypatch)
    make_shot(small_scene)
    bpy.context.scene.ex4d_generate.engine = "big"
    with pytest.raises(RuntimeError, match="The model lab/nc is not on this machine: download it first"):
        bpy.ops.ex4d.generate()
    answer = tick_until(module("generating.preflight").answer, what="the sentence")
    assert "The model lab/nc is not on this machine" in " ".join(drawn())
    (button,) = answer.remedies
    assert button.text == "Download Non-Commercial"
    assert button.text in drawn()
    bpy.ops.ex4d.download_model(**dict(button.values), accept_licence=True)
    tick_until(lambda: server.now.jobs, what="the job")
    server.end("succeeded")
    preflight = module("generating.preflight")
    tick_until(lambda: preflight.answer() and preflight.answer().fits, 30, "the answer with the model")
    assert button.text not in drawn()


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_a_script_waits_for_the_end(server: Any, online: None, state: str) -> None:
    def end() -> None:
        time.sleep(0.5)
        server.end(state)

    thread = threading.Thread(target=end)
    thread.start()
    if state == "failed":
        with pytest.raises(RuntimeError, match="The model needs 8.2 GB of disk"):
            bpy.ops.ex4d.download_model(model=BIG)
    else:
        assert bpy.ops.ex4d.download_model(model=BIG) == {"FINISHED"}
    thread.join()
    (job,) = server.now.jobs
    assert job.state == state


def test_the_real_sidecar_lists_its_own_and_refuses_others(shared_sidecar: Any, online: None) -> None:
    now = started()
    known = {one.name: one for one in module("engine.models").models()}
    vace = known["wan2.1-vace-1.3b"]
    assert (vace.licence, vace.commercial, vace.where) == (
        "Apache-2.0",
        True,
        "huggingface.co/Wan-AI/Wan2.1-VACE-1.3B-diffusers",
    )
    assert vace.size_bytes > 10**10
    assert vace.folder
    lora = known["ex4d-lora"]
    assert not lora.commercial
    seen = drawn()
    assert {vace.title, lora.title, "Not for commercial work"} <= set(seen)
    with pytest.raises(RuntimeError, match=r"licence|allows no commercial work"):
        bpy.ops.ex4d.download_model(model=lora.name)
    now.capabilities = {"models": [{"name": BIG, "commercial": True, "state": "absent"}]}
    with pytest.raises(RuntimeError, match="This sidecar knows no model 'lab/big'"):
        bpy.ops.ex4d.download_model(model=BIG)
