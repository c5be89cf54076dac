"""Moves written as keys: what Blender plays is the library's preset, to 0.1 degrees and 0.1 % of the radius."""

import json
import math
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import library, module
from shot_cases import add_camera, add_shot, stand_in

_CORE = """
import json, sys
import numpy as np
from pathlib import Path
from ex4d_core.scene import Scene
from ex4d_core.presets import Move, preset
scene = Scene.open(Path(sys.argv[1]))
answer = {}
for name, case in json.loads(sys.argv[2]).items():
    path = preset(scene, Move(**case["move"]), frames=case["frames"])
    answer[name] = {"c2w": path.c2w.tolist(), "intrinsics": path.intrinsics.tolist()}
print(json.dumps(answer))
"""
_D = math.degrees(1.0)
CASES = {
    "orbit": ({"preset": "ORBIT"}, {"preset": "orbit"}),
    "orbit 50": ({"preset": "ORBIT", "angle": -50 / _D, "rise": 15 / _D}, {"preset": "orbit", "yaw": -50, "pitch": 15}),
    "orbit eased": ({"preset": "ORBIT", "easing": "EASE_IN_OUT"}, {"preset": "orbit", "easing": "ease_in_out"}),
    "arc": ({"preset": "ARC"}, {"preset": "arc"}),
    "dolly": ({"preset": "DOLLY"}, {"preset": "dolly"}),
    "dolly back": (
        {"preset": "DOLLY", "amount": -0.7, "easing": "EASE_IN"},
        {"preset": "dolly", "amount": -0.7, "easing": "ease_in"},
    ),
    "truck": ({"preset": "TRUCK"}, {"preset": "truck"}),
    "crane": ({"preset": "CRANE"}, {"preset": "crane"}),
    "crane high": ({"preset": "CRANE", "amount": 1.5}, {"preset": "crane", "amount": 1.5}),
    "spiral": ({"preset": "SPIRAL"}, {"preset": "spiral"}),
    "spiral eased": ({"preset": "SPIRAL", "easing": "EASE_OUT"}, {"preset": "spiral", "easing": "ease_out"}),
    "zoom": ({"preset": "ZOOM", "zoom": 2.5}, {"preset": "zoom", "zoom": 2.5}),
    "dolly zoom": ({"preset": "DOLLY_ZOOM"}, {"preset": "dolly_zoom"}),
    "source": ({"preset": "SOURCE"}, {"preset": "static"}),
    "30": ({"preset": "REF_30"}, {"preset": "30"}),
    "60": ({"preset": "REF_60"}, {"preset": "60"}),
    "90": ({"preset": "REF_90"}, {"preset": "90"}),
    "180": ({"preset": "REF_180"}, {"preset": "180"}),
    "zoom in": ({"preset": "REF_ZOOM_IN"}, {"preset": "zoom_in"}),
    "zoom out": ({"preset": "REF_ZOOM_OUT"}, {"preset": "zoom_out"}),
}
FRAMES = 49


@pytest.fixture(scope="module")
def core(small_scene: Path, library_python: str) -> dict:
    """The library's trajectory of every case."""
    asked = {name: {"move": move, "frames": FRAMES} for name, (_, move) in CASES.items()}
    return json.loads(library(library_python, _CORE, small_scene, json.dumps(asked)))


def _radius(path: np.ndarray, small_scene: Path, preset: str) -> float:
    facts = module("scene_folder").read_scene(small_scene)
    return module("shots.source_view").subject_distance(facts, 0, module("shots.moves").MOVES[preset].reference)


@pytest.mark.parametrize("case", CASES)
def test_a_move_is_the_librarys(small_scene: Path, core: dict, case: str) -> None:
    empty = stand_in(small_scene, scale=2.5)
    empty.location = (3, -2, 1)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1001, 1000 + FRAMES
    empty["Frame Start"] = 1001.0
    settings = CASES[case][0]
    assert bpy.ops.ex4d.new_shot(**settings) == {"FINISHED"}
    shot = module("shots").active_shot(scene)
    sample = module("shots.sampling").sample(bpy.context, shot)
    expected, lens = np.array(core[case]["c2w"]), np.array(core[case]["intrinsics"])
    turn = sample.c2w[:, :3, :3].transpose(0, 2, 1) @ expected[:, :3, :3]
    # From the sine, as the cosine of a small angle is 1 within rounding.
    angle = np.degrees(np.linalg.norm(turn - np.eye(3), axis=(1, 2)) / math.sqrt(2)).max()
    apart = np.linalg.norm(sample.c2w[:, :3, 3] - expected[:, :3, 3], axis=1).max()
    apart /= _radius(expected, small_scene, settings["preset"])
    zoom = np.abs(sample.intrinsics / lens - 1).max()
    print(f"{case:14} {angle:.3f} degrees, {apart:.2%} of the radius, {zoom:.2%} of the lens")
    assert angle < 0.1
    assert apart < 1e-3
    assert zoom < 1e-3
    assert len(sample) == FRAMES

    curves = [c for thing in _animated(shot.camera) for c in module("versions.fcurves").curves(thing)]
    assert max(len(curve.keyframe_points) for curve in curves) <= 5
    for curve in curves:
        points = curve.keyframe_points
        assert all(point.co.x == round(point.co.x) for point in points), "keys lie on whole frames"
        if len(points) > 1:
            assert all(point.interpolation == "BEZIER" for point in points)
    if settings["preset"] in ("ORBIT", "ARC"):
        moving = [curve for curve in curves if len(curve.keyframe_points) > 1]
        assert {curve.id_data.name for curve in moving} == {moving[0].id_data.name}
        assert len(moving) == (2 if settings.get("rise") else 1), "a rotation channel of the orbit empty, nothing else"


def _animated(camera: bpy.types.Object) -> list:
    return [thing for thing in (camera, camera.data, camera.parent) if thing is not None]


def test_it_follows_the_empty(small_scene: Path) -> None:
    """Moved, turned and scaled afterwards, the empty takes the shot along: the trajectory stays."""
    empty = stand_in(small_scene)
    for preset in ("SPIRAL", "ORBIT"):
        bpy.ops.ex4d.new_shot(preset=preset)
        shot = module("shots").active_shot(bpy.context.scene)
        before = module("shots.sampling").sample(bpy.context, shot)
        empty.scale, empty.location = (3, 3, 3), (1, 2, 3)
        empty.rotation_euler = (0.3, 0.4, 0.5)
        bpy.context.view_layer.update()
        after = module("shots.sampling").sample(bpy.context, shot)
        assert np.abs(before.c2w - after.c2w).max() < 1e-5


def test_it_stands_upright(small_scene: Path) -> None:
    """An artist's axes: x right, y ahead, z up, the camera level at 90 degrees about X."""
    stand_in(small_scene)
    bpy.ops.ex4d.new_shot(preset="CRANE", amount=0.5, distance=4.0)
    camera = module("shots").active_shot(bpy.context.scene).camera
    curve = module("versions.fcurves").find(camera, "location", 2)
    assert curve.keyframe_points[-1].co.y == pytest.approx(2.0)
    assert math.degrees(module("versions.fcurves").find(camera, "rotation_euler", 0).evaluate(1)) == pytest.approx(90)
    bpy.context.scene.frame_set(250)
    assert camera.matrix_world.translation.z == pytest.approx(2.0)


def test_the_users_key_preferences_apply(small_scene: Path) -> None:
    stand_in(small_scene)
    edit = bpy.context.preferences.edit
    before = edit.keyframe_new_interpolation_type, edit.keyframe_new_handle_type
    edit.keyframe_new_interpolation_type, edit.keyframe_new_handle_type = "CONSTANT", "VECTOR"
    try:
        bpy.ops.ex4d.new_shot()
    finally:
        edit.keyframe_new_interpolation_type, edit.keyframe_new_handle_type = before
    camera = module("shots").active_shot(bpy.context.scene).camera
    curves = module("versions.fcurves").curves(camera)
    assert [(c.data_path, c.array_index) for c in curves] == [
        (path, index) for path in ("location", "rotation_euler") for index in range(3)
    ]
    points = [point for curve in curves for point in curve.keyframe_points]
    assert [point.co.x for point in points] == [1.0] * 6
    assert {(point.interpolation, point.handle_left_type) for point in points} == {("CONSTANT", "VECTOR")}


def test_over_animation_only_on_confirmation(small_scene: Path) -> None:
    stand_in(small_scene)
    camera = add_camera()
    shot = add_shot(camera, (1, 20))
    assert bpy.ops.ex4d.apply_move(preset="DOLLY") == {"FINISHED"}
    camera.keyframe_insert("location", frame=77)
    keys = len(module("versions.fcurves").find(camera, "location", 1).keyframe_points)
    with pytest.raises(RuntimeError, match="animated already"):
        bpy.ops.ex4d.apply_move(preset="ORBIT")
    assert len(module("versions.fcurves").find(camera, "location", 1).keyframe_points) == keys
    assert camera.parent.name == "Footage"
    assert bpy.ops.ex4d.apply_move(preset="ORBIT", replace=True) == {"FINISHED"}
    orbit = camera.parent
    assert module("versions.fcurves").find(orbit, "rotation_euler", 2) is not None
    assert all(c.keyframe_points[-1].co.x <= 20 for c in module("versions.fcurves").curves(camera))
    with pytest.raises(RuntimeError, match="animated already"):
        bpy.ops.ex4d.apply_move(preset="TRUCK")
    assert bpy.ops.ex4d.apply_move(preset="TRUCK", replace=True) == {"FINISHED"}
    assert [thing.name for thing in bpy.data.objects if "ex4d_orbit" in thing] == []
    sample = module("shots.sampling").sample(bpy.context, shot)
    assert sample.c2w[-1, 0, 3] > 0.1


def test_other_slots_of_a_shared_action_are_left_alone(small_scene: Path) -> None:
    stand_in(small_scene)
    fcurves = module("versions.fcurves")
    camera, other = add_camera(), add_camera("Other")
    camera.keyframe_insert("location", frame=1)
    other.location.x = 5
    other.keyframe_insert("location", frame=3)
    if hasattr(camera.animation_data, "action_slot"):
        other.animation_data.action = camera.animation_data.action  # two slots of one action
        slot = camera.animation_data.action.slots.new("OBJECT", "Other")
        other.animation_data.action_slot = slot
        other.keyframe_insert("location", frame=3)
        other.keyframe_insert("location", frame=9)
    else:
        other.animation_data.action = camera.animation_data.action  # one action for both: all that 4.3 knew
    before = [[tuple(p.co) for p in c.keyframe_points] for c in fcurves.curves(other)]
    assert before
    add_shot(camera, (1, 20))
    bpy.ops.ex4d.apply_move(preset="CRANE", replace=True)
    assert [[tuple(p.co) for p in c.keyframe_points] for c in fcurves.curves(other)] == before
    assert len(fcurves.find(camera, "location", 2).keyframe_points) == 2


def test_a_slot_that_two_share_becomes_two(small_scene: Path) -> None:
    stand_in(small_scene)
    fcurves = module("versions.fcurves")
    camera, other = add_camera(), add_camera("Other")
    camera.keyframe_insert("location", frame=5)
    other.animation_data_create().action = camera.animation_data.action
    if hasattr(other.animation_data, "action_slot"):
        other.animation_data.action_slot = camera.animation_data.action_slot
    assert fcurves.is_shared(camera)
    add_shot(camera, (1, 20))
    bpy.ops.ex4d.apply_move(preset="TRUCK", replace=True)
    assert not fcurves.is_shared(camera)
    assert [p.co.x for p in fcurves.find(other, "location", 0).keyframe_points] == [5]
    assert [p.co.x for p in fcurves.find(camera, "location", 0).keyframe_points] == [1, 20]


@pytest.mark.parametrize(
    ("rig", "said"),
    [
        (lambda camera: setattr(camera, "parent", add_camera("Crane")), "hangs on Crane"),
        (lambda camera: camera.constraints.new("TRACK_TO"), "held by Track To"),
        (lambda camera: camera.driver_add("location", 0), "moved by drivers"),
    ],
)
def test_the_artists_rigs_are_left_alone(small_scene: Path, rig: object, said: str) -> None:
    stand_in(small_scene)
    camera = add_camera()
    add_shot(camera)
    rig(camera)
    with pytest.raises(RuntimeError, match=said):
        bpy.ops.ex4d.apply_move(preset="DOLLY", replace=True)


def test_settings_that_no_move_follows_make_nothing(small_scene: Path) -> None:
    stand_in(small_scene)
    things = len(bpy.data.objects), len(bpy.data.cameras)
    with pytest.raises(RuntimeError, match="below 1"):
        bpy.ops.ex4d.new_shot(preset="DOLLY_ZOOM", amount=1.2)
    assert (len(bpy.data.objects), len(bpy.data.cameras)) == things
    assert len(bpy.context.scene.ex4d_shots) == 0


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_short_shots(small_scene: Path, frames: int) -> None:
    stand_in(small_scene)
    bpy.context.scene.frame_end = frames
    for preset in ("SPIRAL", "REF_180", "ORBIT"):
        bpy.ops.ex4d.new_shot(preset=preset)
        sample = module("shots.sampling").sample(bpy.context, module("shots").active_shot(bpy.context.scene))
        assert len(sample) == frames
        assert np.abs(sample.c2w[0] - np.eye(4)).max() < 1e-5


def test_fitted_curves_are_what_blender_plays() -> None:
    fitting, keying = module("shots.fitting"), module("shots.keying")
    found = fitting.fit(lambda u: np.sin(2 * math.pi * u), 1e-3, 101)
    assert found.error <= 1e-3
    thing = bpy.data.objects.new("Any", None)
    keying.write(thing, "location", (found, found, found), (10, 110), unit=7.0)
    curve = module("versions.fcurves").find(thing, "location", 1)
    played = np.array([curve.evaluate(frame) for frame in np.linspace(10, 110, 333)])
    times = np.linspace(0, 1, 333)
    assert np.abs(played - 7 * fitting.evaluate(found.keys, times)).max() < 2e-4
    assert np.abs(played - 7 * np.sin(2 * math.pi * times)).max() < 7.5e-3


def test_moves_that_would_harm_others_are_refused(small_scene: Path) -> None:
    stand_in(small_scene)
    source, camera, other = bpy.context.scene.camera, add_camera("Mine"), add_camera("Other")
    add_shot(source)
    before = source.matrix_world.copy()
    with pytest.raises(RuntimeError, match="is the filmed camera"):
        bpy.ops.ex4d.apply_move(preset="ORBIT", replace=True)
    bpy.context.view_layer.update()
    assert source.matrix_world == before
    add_shot(camera)
    other.data = camera.data
    with pytest.raises(RuntimeError, match="shares its lens"):
        bpy.ops.ex4d.apply_move(preset="ORBIT")
    assert other.data.lens == pytest.approx(50)
