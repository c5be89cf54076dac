"""Cameras of other files: what would not stay on them is refused in one sentence, and nothing is changed."""

from pathlib import Path

import bpy
import pytest
from conftest import module
from shot_cases import add_camera, add_shot, stand_in


def brought(library: Path, footage: Path, how: str) -> bpy.types.Object:
    """The camera `Far` of a file, linked or as an override, in a new scene with footage and a shot of it."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    stand_in(footage)
    with bpy.data.libraries.load(str(library), link=True) as (_, there):
        there.objects = ["Far"]
    (camera,) = there.objects
    if how != "linked":
        camera = camera.override_create(remap_local_usages=True)
    if how == "override of both":
        camera.data.override_create(remap_local_usages=True)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    add_shot(camera)
    bpy.context.view_layer.update()
    return camera


def state(camera: bpy.types.Object) -> list[object]:
    """All that the operators here may change of it."""
    found: list[object] = [constraint.name for constraint in camera.constraints]
    for thing in (camera, camera.data):
        found.append({key: str(thing[key]) for key in thing.keys() if not key.startswith("cycles")})  # noqa: SIM118
        found.append([curve.data_path for curve in module("versions.fcurves").drivers(thing)])
    return found


@pytest.mark.parametrize("is_made_there", [False, True], ids=["bare", "prepared"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("linked", "is linked from another file"),
        ("override", "is a library override"),
        ("override of both", "is a library override"),
    ],
)
def test_nothing_is_added_to_a_camera_of_another_file(
    small_scene: Path, tmp_path: Path, how: str, said: str, is_made_there: bool
) -> None:
    stand_in(small_scene)
    camera = bpy.context.scene.camera = add_camera("Far")
    add_shot(camera)
    operators = [bpy.ops.ex4d.set_source_time, bpy.ops.ex4d.blend_to_source, bpy.ops.ex4d.measure_coverage]
    if is_made_there:  # then there is something to take away
        bpy.ops.ex4d.set_source_time()
        bpy.ops.ex4d.blend_to_source()
        operators.append(bpy.ops.ex4d.clear_source_time)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "far.blend"))

    camera = brought(tmp_path / "far.blend", small_scene, how)
    before = state(camera)
    for operator in operators:
        with pytest.raises(RuntimeError, match=rf"^Error: Far\S* {said}[^:]*: make it local first [^:]*\.\n$"):
            operator()
        assert state(camera) == before


@pytest.mark.parametrize("how", ["linked", "override", "override of both"])
def test_made_local_as_the_sentence_says_it_will_do(small_scene: Path, tmp_path: Path, how: str) -> None:
    add_camera("Far")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "far.blend"))
    camera = brought(tmp_path / "far.blend", small_scene, how)
    bpy.ops.object.select_all(action="DESELECT")
    camera.select_set(True)
    bpy.ops.object.make_local(type="SELECT_OBDATA")
    assert bpy.ops.ex4d.set_source_time() == {"FINISHED"}
    assert bpy.ops.ex4d.blend_to_source() == {"FINISHED"}
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "own.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "own.blend"))
    camera = bpy.context.scene.camera
    assert "Source Time" in camera
    assert module("shots.blending").is_on(camera)


@pytest.mark.parametrize("operator", ["apply_move", "blend_to_source"])
def test_keys_of_another_file_are_copied_before_they_are_changed(
    small_scene: Path, tmp_path: Path, operator: str
) -> None:
    camera = add_camera("Far")
    for thing, path in ((camera, "location"), (camera.data, "lens")):
        thing.keyframe_insert(path, frame=1)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "far.blend"))
    camera = brought(tmp_path / "far.blend", small_scene, "linked")
    camera.make_local().data.make_local()  # and not what animates them
    assert all(thing.animation_data.action.library for thing in (camera, camera.data))
    theirs = [action for action in bpy.data.actions if action.library]

    def keyed() -> list[str]:
        fcurves, camera = module("versions.fcurves"), bpy.context.scene.camera
        return [curve.data_path for thing in (camera, camera.data) for curve in fcurves.curves(thing)]

    before = keyed()
    options = {"preset": "ARC", "replace": True} if operator == "apply_move" else {}
    assert getattr(bpy.ops.ex4d, operator)(**options) == {"FINISHED"}
    changed = keyed()
    assert changed != before
    assert [action for action in bpy.data.actions if action.library] == theirs
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "own.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "own.blend"))
    assert keyed() == changed
