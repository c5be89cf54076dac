"""Which take goes where when two are compared; how it looks, a window shows (`tests/gui/test_compare_window.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import module
from shot_cases import add_camera, add_shot
from test_panels import drawn


@pytest.fixture
def shot(tmp_path: Path) -> Any:
    """A shot with three takes of 4 frames from 1 on, 64x36; the second has an overscan of an eighth."""
    found = add_shot(add_camera(), (1, 4))
    frame = {"c2w": [[float(i == j) for j in range(4)] for i in range(4)], "intrinsics": [60.0] * 4, "source_time": 0.0}
    for number, (width, height) in enumerate(((64, 36), (72, 40), (64, 36)), start=1):
        folder = tmp_path / f"take_{number:03d}"
        folder.mkdir()
        path = {"schema": "ex4d.trajectory/1", "width": width, "height": height, "fps": [24, 1], "frame_start": 1}
        (folder / "trajectory.json").write_text(json.dumps({**path, "frames": [frame] * 4}))
        about = {"schema": "ex4d.take/1", "number": number, "name": folder.name}
        settings = {"overscan": width / 64 - 1, "size": [64, 36]}
        (folder / "take.json").write_text(json.dumps({**about, "settings": settings}))
        module("shots.takes").add_take(found, module("takes.folder").read_take(folder))
    return found


@pytest.fixture
def settings() -> Any:
    """How takes are compared, as in a Blender that has just been started."""
    found = bpy.context.window_manager.ex4d_compare
    for name in ("show", "left", "wipe"):
        found.property_unset(name)
    return found


def names() -> tuple[str, str] | None:
    """The takes that are compared."""
    found = module("takes.compare").pair(bpy.context)
    return None if found is None else (found[0].name, found[1].name)


def test_the_active_take_with_the_one_before_or_another(shot: Any, settings: Any) -> None:
    assert names() is None
    settings.show = True
    assert names() == ("take_002", "take_003")
    shot.active_take = 1
    assert names() == ("take_001", "take_002")
    settings.left_menu = shot.takes[2].key
    assert names() == ("take_003", "take_002")
    settings.left_menu = "BEFORE"  # an item without identifier is a heading to Blender
    assert names() == ("take_001", "take_002")
    settings.left_menu = shot.takes[2].key
    shot.takes.remove(2)
    assert names() == ("take_001", "take_002")
    assert settings.left_menu == "BEFORE"
    shot.takes.clear()
    assert names() is None


def test_the_line_parts_the_frame_without_overscan(shot: Any, settings: Any) -> None:
    compare = module("takes.compare")
    settings.show, shot.active_take = True, 1
    left, right = compare.parts(((100.0, 50.0), (740.0, 410.0)), 0.25, compare.pair_facts(bpy.context))
    assert (left.area, right.area) == ((100, 50, 260, 410), (260, 50, 740, 410))
    assert (left.inside, left.frame) == ((0, 0, 0.25, 1), (0, 0, 1, 1))
    margin = 4 / 72  # of 72 pixels, the middle 64 are the frame's
    assert right.inside == pytest.approx((margin + 0.25 * 64 / 72, 2 / 40, 1 - margin, 1 - 2 / 40))
    assert right.frame == pytest.approx((margin, 2 / 40, 1 - margin, 1 - 2 / 40))


def test_flip_and_the_panel(shot: Any, settings: Any, tmp_path: Path) -> None:
    settings.show = True
    for wipe in (1.0, 0.0, 1.0):
        assert bpy.ops.ex4d.flip_takes() == {"FINISHED"}
        assert settings.wipe == wipe
    before = drawn()
    assert {"Compare", "left_menu", "wipe", "ex4d.flip_takes"} <= set(before)
    bpy.context.scene.camera = shot.camera
    assert drawn().count("ex4d.view_shot") == before.count("ex4d.view_shot") - 1  # only the list's
    (tmp_path / "take_003" / "trajectory.json").unlink()
    assert "is no finished shot" in " ".join(drawn())


def test_it_is_off_in_the_next_file(shot: Any, settings: Any, tmp_path: Path) -> None:
    settings.show = True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert len(bpy.context.scene.ex4d_shots[0].takes) == 3
    assert not bpy.context.window_manager.ex4d_compare.show
