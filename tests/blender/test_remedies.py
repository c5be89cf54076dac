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
