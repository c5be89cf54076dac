"""Where takes lie after undo past a Save As, and *Relink Take*."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from painted_takes import noise, write_take
from shot_cases import add_camera, add_shot
from take_cases import paint, tell
from test_take_strip import of_scene
from test_takes import folder_of


@pytest.mark.parametrize("removed", [False, True])
def test_all_that_shows_a_take_is_right_over_undo(
    small_scene: Path, library_python: str, tmp_path: Path, undo_steps: None, removed: bool
) -> None:
    """The compositor's images and the strip's sound name no take; a take may be off the list, and still be shown."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    scene = shutil.copytree(small_scene, tmp_path / "small.ex4d")
    with wave.open(str(scene / "audio.m4a"), "wb") as file:  # read by its content
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\1\0" * 8000)
    bpy.ops.ex4d.import_scene(directory=str(scene))
    add_shot(add_camera("Shot 010"), (1, 4))
    ones = np.ones((4, 36, 64), np.float32)
    take = write_take(library_python, tmp_path / "take_001", noise(), ones > 0, ones, exr=False)
    of_scene(take, scene, [0.0, 1.0, 2.0, 3.0])
    bpy.ops.ed.undo_push(message="Shot")
    uses = {"PLANE", "BACKGROUND", "COMPOSITOR", "SEQUENCER", "PROJECTION"}
    assert bpy.ops.ex4d.import_result("EXEC_DEFAULT", True, directory=str(take), use=uses) == {"FINISHED"}
    if removed:
        bpy.ops.ex4d.remove_take("EXEC_DEFAULT", True)
    for _ in range(2):
        bpy.ops.mesh.primitive_cube_add("EXEC_DEFAULT", True)
    (tmp_path / "deep/er").mkdir(parents=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "deep/er/file.blend"))
    bpy.context.scene.frame_end = 88
    bpy.ops.ed.undo_push(message="End")

    def check(takes: int) -> None:
        absolute = module("placed").absolute
        (shot,) = bpy.context.scene.ex4d_shots
        assert [folder_of(each) for each in shot.takes] == [take] * takes
        found = [image.filepath for image in bpy.data.images if image.filepath]
        found += [sound.filepath for sound in bpy.data.sounds]
        every = module("versions.strips").all_strips(bpy.context.scene)
        found += [strip.directory for strip in every if strip.type == "IMAGE"]
        found += [thing["ex4d_take"] for thing in module("takes.keeping").users()]
        assert len(found) > 15
        assert [path for path in found if not (path.startswith("//../../") and absolute(path).exists())] == []

    check(not removed)
    steps = [bpy.ops.ed.undo] * 3 + [bpy.ops.ed.redo, bpy.ops.ed.undo] + [bpy.ops.ed.undo] * removed
    for count, step in enumerate(steps):
        step()
        check(not removed or count == len(steps) - 1)
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "deep/er/file.blend"))
    check(1)


@pytest.mark.parametrize("why", ["settings", "size"])
def test_relink_take_refuses_another_one(tmp_path: Path, why: str) -> None:
    shot = add_shot(add_camera("Shot 010"), (1, 4))
    for number in (1, 2):
        folder = tell(paint(tmp_path / f"old/take_{number}", (32, 18)), shot.key, number)
        bpy.ops.ex4d.import_result(directory=str(folder), use={"PLANE"} if number == 1 else set())
    shutil.move(tmp_path / "old/take_1", tmp_path / "gone")
    other = paint(tmp_path / "other", (48, 24) if why == "size" else (32, 18))
    tell(other, shot.key, 1, **({"seed": 7} if why == "settings" else {}))
    shot.active_take = 0
    before = [folder_of(take) for take in shot.takes]
    with pytest.raises(RuntimeError, match="is another take than take_001"):
        bpy.ops.ex4d.relink_take(directory=str(other))
    with pytest.raises(RuntimeError, match="is the folder of take_002, which is in the list"):
        bpy.ops.ex4d.relink_take(directory=str(tmp_path / "old/take_2"))
    assert [folder_of(take) for take in shot.takes] == before
    bpy.ops.ex4d.relink_take(directory=str(tmp_path / "gone"))
    assert [folder_of(take) for take in shot.takes] == [tmp_path / "gone", before[1]]
