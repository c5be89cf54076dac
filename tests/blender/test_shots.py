"""Shots: how they are made, listed and exported."""

import json
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import library, module
from shot_cases import add_camera, add_shot, stand_in


def shots() -> list:
    return list(bpy.context.scene.ex4d_shots)


def active() -> bpy.types.PropertyGroup:
    return module("shots").active_shot(bpy.context.scene)


def test_a_new_shot_is_the_filmed_view(small_scene: Path) -> None:
    stand_in(small_scene)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 5, 60
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 1921, 803, 33
    bpy.ops.ex4d.new_shot()
    bpy.ops.ex4d.new_shot()
    shot = active()
    assert [each.name for each in shots()] == ["Shot 010", "Shot 020"]
    assert (shot.name, scene.camera, shot.camera.type) == ("Shot 020", shot.camera, "CAMERA")
    assert (shot.frame_start, shot.frame_end, shot.width, shot.height) == (5, 60, 633, 264)
    assert shot.key != shots()[0].key
    assert not shot.starts_elsewhere
    scene.render.resolution_percentage = 100  # its own size, whatever the scene's becomes
    assert (shot.width, shot.height) == (633, 264)
    facts = module("scene_folder").read_scene(small_scene)
    shot.width, shot.height = facts.width, facts.height
    sample = module("shots.sampling").sample(bpy.context, shot)
    assert np.allclose(sample.c2w, np.eye(4), atol=1e-6)
    assert np.allclose(sample.intrinsics, facts.intrinsics[0], rtol=1e-6)


def test_new_shot_in_a_scene_without_footage() -> None:
    with pytest.raises(RuntimeError, match="no footage"):
        bpy.ops.ex4d.new_shot()
    assert not shots()


def test_the_lost_source_camera_is_read_from_the_folder(small_scene: Path) -> None:
    stand_in(small_scene)
    bpy.data.objects.remove(bpy.data.objects["Source Camera"])
    bpy.ops.ex4d.new_shot(preset="TRUCK")
    sample = module("shots.sampling").sample(bpy.context, active())
    facts = module("scene_folder").read_scene(small_scene)
    assert np.allclose(sample.intrinsics[0], facts.intrinsics[0], rtol=1e-6)


def test_use_active_camera_changes_nothing(small_scene: Path) -> None:
    stand_in(small_scene)
    scene, camera = bpy.context.scene, add_camera("Mine", (1, 2, 3))
    camera.keyframe_insert("location", frame=1)
    source = scene.camera
    bpy.context.view_layer.objects.active = camera
    before = [*camera.location], camera.parent, len(camera.keys()), camera.data.lens
    bpy.ops.ex4d.use_active_camera()
    assert (active().camera, active().name) == (camera, "Mine")
    assert ([*camera.location], camera.parent, len(camera.keys()), camera.data.lens) == before
    assert active().starts_elsewhere
    bpy.context.view_layer.objects.active = None
    bpy.ops.ex4d.use_active_camera()
    assert active().camera == source
    assert not active().starts_elsewhere
    assert scene.camera == source


def test_use_active_camera_takes_the_range_of_its_markers(small_scene: Path) -> None:
    stand_in(small_scene)
    scene = bpy.context.scene
    first, second = add_camera("A"), add_camera("B")
    for frame, camera in ((1, first), (50, second), (70, first), (90, first)):
        scene.timeline_markers.new(f"F{frame}", frame=frame).camera = camera
    scene.frame_set(80)
    scene.frame_end = 100
    bpy.ops.ex4d.use_active_camera()  # the markers made A the scene's camera
    assert (active().camera, active().frame_start, active().frame_end) == (first, 70, 100)


def test_shots_from_markers(small_scene: Path) -> None:
    stand_in(small_scene)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 10, 100
    with pytest.raises(RuntimeError, match="Bind Camera"):
        bpy.ops.ex4d.shots_from_markers()
    first, second = add_camera("A"), add_camera("B")
    for frame, camera in ((20, first), (50, second), (60, None), (70, first), (90, first), (120, second)):
        scene.timeline_markers.new(f"F{frame}", frame=frame).camera = camera
    bpy.ops.ex4d.shots_from_markers()
    made = [(shot.name, shot.camera.name, shot.frame_start, shot.frame_end) for shot in shots()]
    assert made == [("F20", "A", 10, 49), ("F50", "B", 50, 69), ("F70", "A", 70, 100)]
    assert active().name == "F20"
    for frame in (10, 30, 49, 50, 69, 70, 100):  # Blender agrees who is on the air
        scene.frame_set(frame)
        (on,) = [shot for shot in shots() if shot.frame_start <= frame <= shot.frame_end]
        assert scene.camera == on.camera
    with pytest.raises(RuntimeError, match="its shot already"):
        bpy.ops.ex4d.shots_from_markers()
    assert len(shots()) == 3


def test_a_camera_that_makes_no_shot(small_scene: Path) -> None:
    stand_in(small_scene)
    bpy.context.scene.camera = add_camera()
    bpy.context.scene.camera.data.type = "ORTHO"
    with pytest.raises(RuntimeError, match="orthographic: set its Type"):
        bpy.ops.ex4d.use_active_camera()
    assert not shots()


def test_what_is_ignored_is_said_once(small_scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(small_scene)
    camera = bpy.context.scene.camera = add_camera()
    camera.data.dof.use_dof = bpy.context.scene.render.use_motion_blur = True
    bpy.ops.ex4d.use_active_camera()
    for _ in range(2):
        bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "a.json"))
    assert capfd.readouterr().out.count("leave out what it has of Depth of Field, Motion Blur") == 1


def test_the_list(small_scene: Path, undo_steps: None) -> None:
    stand_in(small_scene)
    camera = add_camera()
    for name in "ABC":
        add_shot(camera, (1, 8)).name = name
    scene = bpy.context.scene

    def names() -> str:
        return "".join(shot.name for shot in shots()) + " " + active().name

    assert names() == "ABC C"
    bpy.ops.ex4d.move_shot(direction="UP")
    assert names() == "ACB C"
    bpy.ops.ex4d.move_shot(direction="UP")
    assert bpy.ops.ex4d.move_shot(direction="UP") == {"CANCELLED"}
    assert names() == "CAB C"
    bpy.ops.ex4d.move_shot(direction="DOWN")
    assert names() == "ACB C"
    active().handle_before, active().width = 5, 123
    bpy.ops.ex4d.duplicate_shot()
    assert names() == "ACC.001B C.001"
    assert (active().handle_before, active().width, active().camera) == (5, 123, camera)
    assert len({shot.key for shot in shots()}) == 4
    bpy.ops.ex4d.remove_shot(key=shots()[0].key)
    assert names() == "CC.001B C.001"
    bpy.ops.ex4d.remove_shot()
    assert names() == "CB B"
    bpy.ops.ex4d.remove_shot()
    bpy.ops.ex4d.remove_shot()
    assert module("shots").active_shot(scene) is None
    assert not bpy.ops.ex4d.remove_shot.poll()
    assert camera.name in bpy.data.objects


def test_solo_and_back(small_scene: Path) -> None:
    stand_in(small_scene)
    scene = bpy.context.scene
    before = scene.camera
    cameras = [add_camera("A"), add_camera("B")]
    first = add_shot(cameras[0], (10, 20)).key
    shot = add_shot(cameras[1], (30, 40))
    shot.handle_before, shot.handle_after = 2, 3
    scene.use_preview_range, scene.frame_preview_start, scene.frame_preview_end = True, 3, 9

    def state() -> tuple:
        return scene.camera, scene.use_preview_range, scene.frame_preview_start, scene.frame_preview_end

    bpy.ops.ex4d.solo_shot()
    assert state() == (cameras[1], True, 28, 43)
    assert scene.frame_current == 30
    bpy.ops.ex4d.solo_shot(key=first)
    assert state() == (cameras[0], True, 10, 20)
    bpy.ops.ex4d.solo_shot(key=first)
    assert state() == (before, True, 3, 9)
    bpy.ops.ex4d.solo_shot(key=first)
    bpy.ops.ex4d.remove_shot(key=first)
    assert state() == (before, True, 3, 9)


def test_ranges_stay_in_order() -> None:
    shot = add_shot(add_camera(), (10, 20))
    shot.frame_start = 30
    assert (shot.frame_start, shot.frame_end) == (30, 30)
    shot.frame_end = 5
    assert (shot.frame_start, shot.frame_end) == (5, 5)


@pytest.mark.parametrize(
    ("frames", "handles", "elsewhere", "expected"),
    [
        ((1, 49), (0, 0), False, (49, 49, 49)),
        ((1, 48), (0, 0), False, (48, 49, 48)),
        ((1, 49), (0, 0), True, (49, 57, 49)),
        ((1, 50), (8, 8), True, (50, 77, 66)),
        ((1001, 1001), (0, 0), False, (1, 1, 1)),
    ],
)
def test_frames_asked_made_and_back(frames: tuple, handles: tuple, elsewhere: bool, expected: tuple) -> None:
    shot = add_shot(add_camera(), frames)
    shot.handle_before, shot.handle_after = handles
    shot.starts_elsewhere = elsewhere
    count = module("shots.frames").count(shot)
    assert (count.asked, count.made, count.back) == expected
    assert count.made % 4 == 1


def test_a_shot_that_leaves_the_filmed_view_leads_in(small_scene: Path) -> None:
    stand_in(small_scene)
    bpy.ops.ex4d.new_shot(preset="ARC")
    assert active().starts_elsewhere
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    assert not active().starts_elsewhere
    module("versions.fcurves").remove(active().camera.parent, "rotation_euler")
    active().camera.parent.rotation_euler.z = 0.4
    bpy.ops.ex4d.check_shot_start()
    assert active().starts_elsewhere


def test_the_frame_of_another_aspect() -> None:
    """A shot's picture in the camera view: what its corners see, in the scene's render."""
    frame = module("shots.aspect_frame").shot_frame
    camera = add_camera()
    shot = add_shot(camera)
    shot.width, shot.height = 960, 540
    assert frame(camera.data, shot, (1920, 1080), (1, 1)) is None
    assert frame(camera.data, shot, (1919, 1080), (1, 1)) is None  # the same shape, to the pixel
    shot.width, shot.height = 1000, 500  # fitted to the width: the same width, less height
    assert np.allclose(frame(camera.data, shot, (1000, 1000), (1, 1)), [0, 0.25, 1, 0.75])
    camera.data.sensor_fit = "VERTICAL"  # fitted to the height: it looks wider than the render
    assert np.allclose(frame(camera.data, shot, (1000, 1000), (1, 1)), [-0.5, 0, 1.5, 1])
    camera.data.sensor_fit, camera.data.shift_y = "HORIZONTAL", 0.1
    shifted = frame(camera.data, shot, (1000, 1000), (1, 1))
    assert np.allclose(shifted, [0, 0.25, 1, 0.75])  # the shift moves both alike


_READ = """
import json, sys
from fractions import Fraction
from pathlib import Path
from ex4d_core.camera import load_trajectory
path = load_trajectory(Path(sys.argv[1]), 64, 48, Fraction(24))
print(json.dumps([path.c2w.tolist(), path.intrinsics.tolist(), path.source_time.tolist(),
    [path.width, path.height, path.fps.numerator, path.fps.denominator, path.frame_start], path.scene_hash]))
"""


@pytest.mark.parametrize("suffix", ["json", "npz"])
@pytest.mark.parametrize("preset", ["ORBIT", "DOLLY_ZOOM"])
def test_export_is_read_by_the_library(
    small_scene: Path, library_python: str, tmp_path: Path, suffix: str, preset: str
) -> None:
    stand_in(small_scene, frame_start=1001)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end, scene.render.fps, scene.render.fps_base = 1001, 1008, 24, 1.001
    bpy.ops.ex4d.new_shot(preset=preset)
    file = tmp_path / f"a path.{suffix}"
    assert bpy.ops.ex4d.export_trajectory(filepath=str(file)) == {"FINISHED"}
    assert [each.name for each in tmp_path.iterdir()] == [file.name]
    c2w, intrinsics, times, numbers, scene_hash = json.loads(library(library_python, _READ, file))
    sample = module("shots.sampling").sample(bpy.context, active())
    assert np.abs(sample.c2w - c2w).max() < 1e-6
    assert np.abs(sample.intrinsics - intrinsics).max() < 1e-4
    assert times == list(range(8))
    if suffix == "json":
        assert numbers == [64, 48, 24000, 1001, 1001]
        assert scene_hash == module("scene_folder").read_scene(small_scene).content_hash
        assert np.array_equal(sample.c2w, c2w)


def test_export_says_what_is_wrong(small_scene: Path, tmp_path: Path) -> None:
    assert not bpy.ops.ex4d.export_trajectory.poll()
    stand_in(small_scene)
    bpy.ops.ex4d.new_shot()
    for name, said in (
        ("path.fbx", "end in .json or .npz"),
        ("no/such/folder/a.json", "choose another place"),
        ("", "filepath"),
    ):
        with pytest.raises(RuntimeError, match=said):
            bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / name) if name else "")
    assert list(tmp_path.iterdir()) == []


def test_export_sweeps_where_it_must(small_scene: Path, tmp_path: Path) -> None:
    stand_in(small_scene)
    camera = add_camera()
    add_shot(camera, (1, 5))
    driver = camera.driver_add("location", 0).driver
    variable = driver.variables.new()
    variable.targets[0].id_type, variable.targets[0].id = "SCENE", bpy.context.scene
    variable.targets[0].data_path, driver.expression = "frame_current", "var * 2"
    bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "a.json"))
    frames = json.loads((tmp_path / "a.json").read_text())["frames"]
    assert [frame["c2w"][0][3] for frame in frames] == pytest.approx([2, 4, 6, 8, 10])


def test_undo_and_reload(small_scene: Path, undo_steps: None, tmp_path: Path) -> None:
    stand_in(small_scene)
    bpy.ops.ed.undo_push(message="Footage")
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    bpy.ops.ed.undo_push(message="New Shot")
    bpy.ops.ex4d.duplicate_shot()
    bpy.ops.ed.undo_push(message="Duplicate")
    bpy.ops.ed.undo()
    assert [shot.name for shot in shots()] == ["Shot 010"]
    bpy.ops.ed.undo()
    assert not shots()
    assert sorted(thing.name for thing in bpy.data.objects) == ["Footage", "Source Camera"]
    bpy.ops.ed.redo()
    bpy.ops.ed.redo()
    assert [shot.name for shot in shots()] == ["Shot 010", "Shot 010.001"]
    before = module("shots.sampling").sample(bpy.context, active())
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shots.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shots.blend"))
    assert [shot.name for shot in shots()] == ["Shot 010", "Shot 010.001"]
    after = module("shots.sampling").sample(bpy.context, active())
    assert np.array_equal(before.c2w, after.c2w)


def test_a_refused_shot_leaves_none(small_scene: Path) -> None:
    stand_in(small_scene)
    scene = bpy.context.scene
    first, mirrored = add_camera("A"), add_camera("B")
    mirrored.scale = (-1, 1, 1)
    bpy.context.view_layer.objects.active = mirrored
    with pytest.raises(RuntimeError, match="mirrored"):
        bpy.ops.ex4d.use_active_camera()
    assert not shots()
    for frame, camera in ((1, first), (5, mirrored)):
        scene.timeline_markers.new(f"F{frame}", frame=frame).camera = camera
    with pytest.raises(RuntimeError, match="mirrored"):
        bpy.ops.ex4d.shots_from_markers()
    assert not shots()
    mirrored.scale = (1, 1, 1)
    bpy.ops.ex4d.shots_from_markers()  # the remedy works
    assert len(shots()) == 2


def test_shots_beside_overridden_footage(small_scene: Path, tmp_path: Path) -> None:
    bpy.ops.ex4d.import_scene(directory=str(small_scene))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.collections, wanted.scenes = [small_scene.stem], ["Scene"]
    collection, linked = wanted.collections[0], wanted.scenes[0]
    scene.collection.children.link(collection)
    collection.override_hierarchy_create(scene, bpy.context.view_layer, do_fully_editable=True)
    for child in list(scene.collection.children):
        if child.library:
            scene.collection.children.unlink(child)
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    assert active().camera.users_collection[0] == scene.collection
    before = len(bpy.data.objects), len(bpy.data.cameras)
    with pytest.raises(RuntimeError, match="linked from another file: make shots in a scene of this file"):
        _in_scene(linked, bpy.ops.ex4d.new_shot)
    assert (len(bpy.data.objects), len(bpy.data.cameras)) == before


def _in_scene(scene: bpy.types.Scene, operator: object) -> None:
    with bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
        operator()


def test_a_camera_deleted_from_the_scene(small_scene: Path) -> None:
    """The shot keeps it alive, which Blender's X knows nothing of: every operator says so."""
    stand_in(small_scene)
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    camera, source = active().camera, bpy.data.objects["Source Camera"]
    bpy.context.scene.camera = source
    with bpy.context.temp_override(selected_objects=[camera]):
        bpy.ops.object.delete()
    assert active().camera == camera
    for operator in (
        bpy.ops.ex4d.view_shot,
        bpy.ops.ex4d.solo_shot,
        bpy.ops.ex4d.check_shot_start,
        bpy.ops.ex4d.blend_to_source,
        lambda: bpy.ops.ex4d.apply_move(preset="DOLLY", replace=True),
        lambda: bpy.ops.ex4d.export_trajectory(filepath="/tmp/never.json"),
    ):
        with pytest.raises(RuntimeError, match="is not in this scene: link it, or choose another camera"):
            operator()
    assert bpy.context.scene.camera == source
    assert module("shots.shot_camera").camera_of(bpy.context.scene, active()) is None  # what the list's icon asks


def test_another_scenes_camera_makes_no_shot(small_scene: Path) -> None:
    stand_in(small_scene)
    camera = bpy.data.objects.new("Elsewhere", bpy.data.cameras.new("Elsewhere"))
    bpy.data.scenes.new("Other").collection.objects.link(camera)
    scene = bpy.context.scene
    scene.camera = scene.timeline_markers.new("Cut", frame=1).camera = camera
    for operator in (bpy.ops.ex4d.use_active_camera, bpy.ops.ex4d.shots_from_markers):
        with pytest.raises(RuntimeError, match="Elsewhere is another scene's: link it"):
            operator()
    assert not shots()


def test_a_shot_keeps_its_footage(small_scene: Path) -> None:
    """Of two: also when the other one comes first by name now."""
    placed = module("placed")
    first, second = stand_in(small_scene), stand_in(small_scene)
    first.name, second.name = "B", "C"
    for thing in (second, *second.children):
        thing[placed.FOOTAGE_ID] = "second"
    camera = bpy.context.scene.camera = add_camera()
    bpy.ops.ex4d.use_active_camera()
    second.name = "A"
    assert placed.of_camera(bpy.context.scene, camera).empty == first
    assert placed.of_camera(bpy.context.scene, add_camera("Other")).empty == second  # as before
    camera.parent = second
    assert placed.of_camera(bpy.context.scene, camera).empty == second  # it hangs on that one
    camera.parent = None
    active().footage = ""  # of an older file
    assert placed.of_camera(bpy.context.scene, camera).empty == second


def test_npz_cannot_say_another_time(small_scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(small_scene)
    bpy.ops.ex4d.new_shot()
    for first, suffix, warns in ((1, "npz", False), (3, "npz", True), (3, "json", False)):
        active().frame_start, active().frame_end = first, 6
        assert bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / f"a.{suffix}")) == {"FINISHED"}
        assert ("cannot say which clip frames" in capfd.readouterr().out) == warns


def test_what_is_ignored_is_said_of_each_camera(small_scene: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(small_scene)
    for name in ("One", "Two"):
        bpy.context.scene.camera = add_camera(name)
        bpy.context.scene.camera.data.dof.use_dof = True
        bpy.ops.ex4d.use_active_camera()
        assert f"{name}: generated shots leave out what it has of Depth of Field." in capfd.readouterr().out
    bpy.context.scene.render.use_multiview = True
    bpy.ops.ex4d.use_active_camera()
    assert "Two: generated shots leave out what it has of Stereoscopy." in capfd.readouterr().out


def test_a_new_camera_is_in_the_view_layer_where_the_footage_is_not(small_scene: Path) -> None:
    bpy.ops.ex4d.import_scene(directory=str(small_scene))
    layer = bpy.context.view_layer
    (footage,) = layer.layer_collection.children
    footage.exclude = True
    assert bpy.ops.ex4d.new_shot(preset="ORBIT", angle=0.3) == {"FINISHED"}
    camera = bpy.context.scene.camera
    assert camera == active().camera
    for thing in (camera, camera.parent):
        assert thing.name in layer.objects
        assert thing.users_collection == (bpy.context.scene.collection,)
    footage.exclude = False
    bpy.ops.ex4d.new_shot()
    assert bpy.context.scene.camera.users_collection == (footage.collection,)
