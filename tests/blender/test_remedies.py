"""A shot that does not fit: for each thing that the sidecar's machine may lack, buttons that do something about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import module
from sidecar_steps import as_with_windows, started, tick_until
from test_generating import make_shot, wished
from test_generating_panel import ENGINES
from test_panels import drawn


@pytest.fixture
def shot(small_scene: Path) -> Any:
    """See `make_shot`."""
    return make_shot(small_scene)


def buttons(what: str, choices: list[str], engine: str = "ex4d") -> list[str]:
    """The operators against a shortage."""
    shortage = {"what": what, "choices": choices, "message": "No."}
    return [
        remedy.operator.removeprefix("ex4d.") for remedy in module("generating.remedies").of_shortage(shortage, engine)
    ]


MODELS = [
    {"name": f"m{number}", "title": f"M{number}", "size_bytes": 3 * 10**9, "left_bytes": left, "state": state}
    for number, (left, state) in enumerate([(3 * 10**9, "absent"), (10**9, "incomplete"), (0, "ready")])
]
NEEDS = {**ENGINES[1], "packages": ["torch"], "models": ["m0", "m1", "m2"], "missing": ["No m0: get it.", "No m1."]}


def lack(known: list[Any] = MODELS, **engine: Any) -> str:
    """The sentence about the engine, and after it the texts of the buttons."""
    now = module("sidecar").connection()
    now.capabilities = {"engines": [ENGINES[0], NEEDS | engine], "models": known}
    with pytest.raises(module("errors").UserError) as error:
        module("generating.settings").chosen(bpy.context.scene, engine="ex4d").check()
    return " | ".join([str(error.value), *(remedy.text for remedy in module("generating.remedies").of_engine("ex4d"))])


def test_all_that_an_engine_lacks_is_said_at_once(own_sidecar: Any) -> None:
    """And another engine is always offered, where one can work."""
    all_of_it = "The engine ex4d lacks 2 models: download all of them, 4.0 GB."
    assert lack() == f"{all_of_it} | Download M0 | Download M1 | Use draft"
    coming = [model | {"state": "downloading"} for model in MODELS[:2]]
    assert lack(known=[coming[0], MODELS[1]]) == "No m0: get it. | Download M1 | Use draft"
    waits = "The engine ex4d waits for M0, M1: that is being downloaded, see the Engine panel."
    assert lack(known=coming) == f"{waits} | Use draft"


def test_no_download_is_offered_before_what_it_needs(own_sidecar: Any) -> None:
    """A program without huggingface_hub, such as the engine for CPU, is replaced first."""
    packages = "The engine ex4d needs torch: run pip install .[gpu] in EX-4D's folder."
    said = lack(missing=[packages, "No m0.", "No m1."])
    assert said == (
        "The engine ex4d needs torch: use Install Engine for a GPU in the Engine panel. | Install Engine | Use draft"
    )
    (install, _) = module("generating.remedies").of_engine("ex4d")
    facts = module("engine.kinds").kinds()
    assert "gpu" in facts[dict(install.values)["kind"]]["extras"]
    seen = drawn()
    assert {"Models need the engine for a GPU", "ex4d.install_engine"} <= set(seen)
    assert "ex4d.download_model" not in seen
    module("sidecar").connection().state = "ready"
    with pytest.raises(RuntimeError, match="Models need the engine for a GPU: use Install Engine"):
        bpy.ops.ex4d.download_model(model="m0")
    lack()
    seen = drawn()
    assert "Incomplete: 1.0 GB are left" in seen
    assert seen.count("ex4d.download_model") == 2
    lack(known=[MODELS[0] | {"state": "downloading"}, *MODELS[1:]])
    seen = drawn()
    assert "Is being downloaded by another program" in seen
    assert seen.count("ex4d.download_model") == 1


def test_each_shortage_has_its_buttons(own_sidecar: Any) -> None:
    now = module("sidecar").connection()
    now.capabilities = {"engines": ENGINES}
    draft = ["the draft engine"]
    assert buttons("vram", draft) == ["choose_engine", "unload_models", "halve_shot"]
    assert buttons("ram", ["close other programs"]) == ["unload_models", "halve_shot"]
    assert buttons("disk", []) == ["remove_finished_jobs", "open_data_folder", "halve_shot"]
    assert buttons("engine", draft) == ["choose_engine"]
    now.capabilities = {"engines": [ENGINES[0], {**ENGINES[1], "packages": ["diffusers"]}]}
    assert buttons("engine", draft) == ["install_engine", "choose_engine"]
    now.is_local = False
    assert buttons("engine", draft) == ["choose_engine"]  # that machine's engine is not installed from here
    assert "open_data_folder" not in buttons("disk", [])


def test_the_models_of_a_quality_are_offered(own_sidecar: Any) -> None:
    fast = {"name": "ex4d", "available": True, "missing": [], "models": [], "quality_models": {"fast": ["lora"]}}
    lora = {"name": "lora", "title": "L", "state": "absent", "size_bytes": 1, "licence": "MIT", "commercial": True}
    module("sidecar").connection().capabilities = {"engines": [fast], "models": [lora]}
    of_engine = module("generating.remedies").of_engine
    (offered,) = of_engine("ex4d", "fast")
    assert (offered.operator, offered.values) == ("ex4d.download_model", (("model", "lora"),))
    assert of_engine("ex4d", "final") == []


def test_they_are_in_the_panel_and_a_smaller_picture_fits(
    shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started()
    as_with_windows(monkeypatch)
    preflight = module("generating.preflight")
    shot.width, shot.height, shot.frame_end = 16000, 16000, 4000  # a terabyte or so, of disk and of memory
    tick_until(preflight.answer, what="the answer")
    assert {"Remove Finished Jobs", "Open Data Folder", "Unload Models"} <= set(drawn())
    assert drawn().count("Half Size") == 1
    shot.frame_end = 6
    while shot.width > 1000:
        bpy.ops.ex4d.halve_shot()
    assert (shot.width, shot.height) == (1000, 1000)
    tick_until(lambda: preflight.answer() and preflight.answer().fits, what="the other answer")
    assert "Half Size" not in drawn()


def test_a_small_picture_stays_one(shot: Any) -> None:
    shot.width, shot.height = 5, 1
    bpy.ops.ex4d.halve_shot()
    assert (shot.width, shot.height) == (2, 1)


def test_finished_jobs_are_removed_but_those_that_the_file_waits_for(own_sidecar: Any, shot: Any) -> None:
    now = started()
    bpy.ops.ex4d.generate()  # its take is in the list: nobody waits for it any longer
    first = now.jobs[0].id
    as_wish = bpy.context.scene.ex4d_wished_takes.add()
    as_wish.job, as_wish.name = first, "Shot 010"
    with pytest.raises(RuntimeError, match="No finished job is left to remove"):
        bpy.ops.ex4d.remove_finished_jobs()
    module("generating.wishes").forget(first)
    result = now.job(first).path
    assert bpy.ops.ex4d.remove_finished_jobs() == {"FINISHED"}
    tick_until(lambda: not now.jobs, what="the empty list")
    assert not wished()
    (take,) = shot.takes
    assert (module("shots.takes").folder_of(take) / "output.mp4").is_file()
    assert result.is_dir()  # it goes when its room is needed


def test_memory_is_given_back(shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started()
    assert bpy.ops.ex4d.unload_models() == {"FINISHED"}
    as_with_windows(monkeypatch)
    preflight = module("generating.preflight")
    tick_until(preflight.answer, what="the answer")
    bpy.ops.ex4d.unload_models()
    tick_until(lambda: preflight.answer() is None, what="another question")
    assert tick_until(preflight.answer, what="the other answer").fits


def test_the_data_folder_is_shown(shared_sidecar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now, opened = started(), []
    monkeypatch.setattr(module("generating.mending"), "open_outside", opened.append)
    assert bpy.ops.ex4d.open_data_folder() == {"FINISHED"}
    (folder,) = opened
    assert (folder / "jobs").is_dir()
    monkeypatch.setattr(now, "server", module("client").Server(now.server.address, now.server.token))
    with pytest.raises(RuntimeError, match="runs on another machine: free space"):
        bpy.ops.ex4d.open_data_folder()
