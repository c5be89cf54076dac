"""Source Time: mesh, plate and background show one clip frame, chosen by the scene's camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import EXTENSION, module


def _place(folder: Path, start: int = 1) -> Any:
    return module("mesh.placing").place(bpy.context, folder, start)


def shown(footage: Any) -> set[int]:
    """The clip frames that empty, mesh, plate materials and background show, as Blender evaluates them."""
    graph = bpy.context.evaluated_depsgraph_get()
    empty, mesh, camera = (t.evaluated_get(graph) for t in (footage.empty, footage.mesh, footage.source_camera))
    frames = {round(empty["Source Frame"]), camera.data.background_images[0].image_user.frame_offset + 1}
    frames.add(round(module("versions.modifier_inputs").read(mesh.modifiers[0], "Frame")))
    materials = [slot for slot in mesh.data.materials if slot and not slot.name.endswith("Unseen")]
    assert materials
    for material in materials:
        trees = [material.node_tree, *(n.node_tree for n in material.node_tree.nodes if n.type == "GROUP")]
        users = [n.image_user for tree in trees for n in tree.nodes if n.type == "TEX_IMAGE"]
        assert len(users) >= 5
        frames |= {user.frame_offset + 1 for user in users}
    return frames


def _camera(name: str, time: float | None = None) -> bpy.types.Object:
    camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    bpy.context.scene.collection.objects.link(camera)
    if time is not None:
        camera["Source Time"] = time
    return camera


@pytest.mark.parametrize(("frame", "clip"), [(1001, 0), (1004, 3), (900, 0), (1008, 7), (1100, 7)])
def test_without_source_time_the_clip_runs_with_the_scene(small_scene: Path, frame: int, clip: int) -> None:
    footage = _place(small_scene, 1001)
    bpy.context.scene.frame_set(frame)
    assert shown(footage) == {clip}


def test_speed_and_rounding(small_scene: Path) -> None:
    footage = _place(small_scene)
    footage.empty["Speed"] = 0.5
    footage.empty.update_tag()
    for frame, clip in ((1, 0), (2, 1), (3, 1), (4, 2), (5, 2)):  # half up: floor(t + 0.5)
        bpy.context.scene.frame_set(frame)
        assert shown(footage) == {clip}


def test_frozen_and_keyed(small_scene: Path) -> None:
    footage = _place(small_scene)
    camera = bpy.context.scene.camera = _camera("Artist", 5.0)
    for frame in (1, 6):
        bpy.context.scene.frame_set(frame)
        assert shown(footage) == {5}
    for frame, time in ((1, 6.0), (5, 2.0)):
        camera["Source Time"] = time
        camera.keyframe_insert('["Source Time"]', frame=frame)
    for frame, clip in ((1, 6), (5, 2), (3, 4)):
        bpy.context.scene.frame_set(frame)
        assert shown(footage) == {clip}


def test_two_bound_cameras_without_the_extension_after_reload(small_scene: Path, tmp_path: Path) -> None:
    _place(small_scene)
    scene = bpy.context.scene
    for name, time, frame in (("A", 2.0, 1), ("B", 6.0, 4), ("C", None, 7)):
        marker = scene.timeline_markers.new(name, frame=frame)
        marker.camera = _camera(name, time)
    scene.camera = bpy.data.objects["A"]
    file = tmp_path / "cut.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(file))
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    try:
        bpy.ops.wm.open_mainfile(filepath=str(file))
        (footage,) = module("placed").all_placed(bpy.context.scene)
        for frame, clip in ((1, 2), (3, 2), (4, 6), (6, 6), (7, 6), (8, 7), (2, 2)):
            bpy.context.scene.frame_set(frame)
            assert shown(footage) == {clip}, frame
    finally:
        bpy.ops.preferences.addon_enable(module=EXTENSION)


def test_a_scene_without_a_camera(small_scene: Path) -> None:
    footage = _place(small_scene)
    bpy.context.scene.camera = None
    bpy.context.scene.frame_set(4)
    assert shown(footage) == {3}


def test_operators(small_scene: Path, undo_steps: None) -> None:
    footage = _place(small_scene)
    camera = bpy.context.scene.camera
    bpy.context.scene.frame_set(4)
    assert bpy.ops.ex4d.set_source_time() == {"FINISHED"}
    assert camera["Source Time"] == 3.0
    camera.keyframe_insert('["Source Time"]', frame=1)
    bpy.context.scene.frame_set(7)
    assert shown(footage) == {3}
    assert bpy.ops.ex4d.clear_source_time() == {"FINISHED"}
    assert "Source Time" not in camera
    bpy.context.scene.frame_set(8)
    assert shown(footage) == {7}
    with pytest.raises(RuntimeError, match="nothing to remove"):
        bpy.ops.ex4d.clear_source_time()


def _duplicate() -> Any:
    """Shift D of all there is; the copy, which starts three frames later."""
    for thing in bpy.context.scene.objects:
        thing.select_set(True)
    assert bpy.ops.object.duplicate() == {"FINISHED"}
    _original, copy = module("placed").all_placed(bpy.context.scene)
    copy.empty["Frame Start"] = 4.0
    copy.empty.update_tag()
    bpy.context.view_layer.objects.active = copy.empty
    return copy


def _at(frame: int, footage: Any) -> set[int]:
    bpy.context.scene.frame_set(frame)
    return shown(footage)


@pytest.mark.parametrize("how", ["make_single", "keep_scene"])
def test_a_copy_shows_its_own_time(small_scene: Path, tmp_path: Path, how: str) -> None:
    original = _place(small_scene)
    assert not bpy.ops.ex4d.make_single.poll()
    copy = _duplicate()
    inputs, copies = module("versions.modifier_inputs"), module("mesh.copies")
    assert copies.is_shared(copy)
    assert not copies.is_shared(original)
    assert len(_at(6, copy)) > 1, "as Blender copies: geometry and background of one frame, the plate of another"
    assert getattr(bpy.ops.ex4d, how)() == {"FINISHED"}
    assert not any(copies.is_shared(each) for each in (original, copy))
    assert [(_at(f, original), _at(f, copy)) for f in (1, 6)] == [({0}, {0}), ({5}, {2})]
    inputs.write(copy.mesh.modifiers[0], "Viewport Level", 4)
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    sizes = [len(each.mesh.evaluated_get(graph).data.vertices) for each in (original, copy)]
    assert sizes[0] > sizes[1], "each its own grid"
    for thing in (original.mesh, original.source_camera, original.empty):
        bpy.data.objects.remove(thing)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "copy.blend"))
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "copy.blend"))
        bpy.context.scene.frame_set(9)
        (empty,) = [thing for thing in bpy.context.scene.objects if thing.get("ex4d_role") == "empty"]
        graph = bpy.context.evaluated_depsgraph_get()
        assert empty.evaluated_get(graph)["Source Frame"] == 5
    finally:
        bpy.ops.preferences.addon_enable(module=EXTENSION)
    (copy,) = module("placed").all_placed(bpy.context.scene)
    assert [_at(f, copy) for f in (4, 9)] == [{0}, {5}]


def test_a_copy_whose_original_is_deleted_is_mended(small_scene: Path) -> None:
    original = _place(small_scene)
    copy = _duplicate()
    for thing in (original.mesh, original.source_camera, original.empty):
        bpy.data.objects.remove(thing)
    (copy,) = module("placed").all_placed(bpy.context.scene)
    assert bpy.ops.ex4d.make_single() == {"FINISHED"}
    assert [_at(f, copy) for f in (1, 6, 30)] == [{0}, {2}, {7}]
