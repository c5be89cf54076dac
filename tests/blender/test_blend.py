"""Blend to Source: from the filmed camera to the artist's, and no trace of it afterwards."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from shot_cases import add_camera, add_shot, stand_in

BLEND = "Blend to Source"


def animated_camera() -> bpy.types.Object:
    """A camera of another sensor than the filmed one, whose place and lens are keyed, with handles."""
    camera = add_camera("Mine")
    camera.data.sensor_width = 24.0
    for frame, place in ((1, 0.0), (8, 2.0)):
        camera.location, camera.rotation_euler.z = (place, 1, 0), place / 4
        camera.data.lens, camera.data.shift_x = 30 + 10 * place, place / 10
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_euler", frame=frame)
        camera.data.keyframe_insert("lens", frame=frame)
        camera.data.keyframe_insert("shift_x", frame=frame)
    curve = module("versions.fcurves").find(camera.data, "lens")
    curve.keyframe_points[0].handle_right_type = "FREE"
    curve.keyframe_points[0].handle_right = (3, 60)
    return camera


def state(camera: bpy.types.Object) -> list:
    """All that the artist made of it."""
    found = []
    for thing in (camera, camera.data):
        found.append(sorted(key for key in thing.keys() if not key.startswith("cycles")))  # noqa: SIM118
        found.append([curve.data_path for curve in thing.animation_data.drivers])
        for curve in module("versions.fcurves").curves(thing):
            points = [(*p.co, *p.handle_left, *p.handle_right, p.interpolation) for p in curve.keyframe_points]
            found.append((curve.data_path, curve.array_index, points))
    found.append([constraint.name for constraint in camera.constraints])
    return found


def sampled(shot: object) -> object:
    return module("shots.sampling").sample(bpy.context, shot)


def test_from_filmed_to_mine_and_back(small_scene: Path) -> None:
    stand_in(small_scene, scale=2.0)
    camera = animated_camera()
    shot = add_shot(camera, (1, 8))
    facts = module("scene_folder").read_scene(small_scene)
    before, mine = state(camera), sampled(shot)
    assert bpy.ops.ex4d.blend_to_source() == {"FINISHED"}

    full = sampled(shot)  # 1: the artist's own
    assert np.allclose(full.c2w, mine.c2w, atol=1e-6)
    assert np.allclose(full.intrinsics, mine.intrinsics, rtol=1e-6)
    camera[BLEND] = 0.0
    camera.update_tag()
    filmed = sampled(shot)  # 0: the filmed camera, lens and shift too
    assert np.allclose(filmed.c2w, np.eye(4), atol=1e-6)
    assert np.allclose(filmed.intrinsics, facts.intrinsics[0], rtol=1e-5)
    for frame, value in ((1, 0.0), (8, 1.0)):
        camera[BLEND] = value
        camera.keyframe_insert(f'["{BLEND}"]', frame=frame)
    between = sampled(shot)
    assert np.allclose(between.c2w[0], np.eye(4), atol=1e-6)
    assert np.allclose(between.c2w[-1], mine.c2w[-1], atol=1e-6)
    share = np.array([module("versions.fcurves").find(camera, f'["{BLEND}"]').evaluate(f) for f in range(1, 9)])
    assert np.allclose(
        between.intrinsics, facts.intrinsics + share[:, None] * (mine.intrinsics - facts.intrinsics), atol=1e-3
    )

    assert bpy.ops.ex4d.blend_to_source() == {"FINISHED"}
    assert state(camera) == before
    assert np.allclose(sampled(shot).intrinsics, mine.intrinsics, rtol=1e-6)
    assert np.allclose(sampled(shot).c2w, mine.c2w, atol=1e-6)


def test_the_viewport_follows(small_scene: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(small_scene)
    camera = animated_camera()
    add_shot(camera)
    bpy.ops.ex4d.blend_to_source()
    bpy.context.scene.frame_set(8)
    far = camera.matrix_world.translation.length
    camera[BLEND] = 0.25
    camera.update_tag()
    bpy.context.view_layer.update()
    assert camera.matrix_world.translation.length == pytest.approx(0.25 * far, rel=1e-4)
    assert camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.lens < 50
    said = "".join(capfd.readouterr())
    assert "cycle" not in said, said


def test_driven_lenses_go_on(small_scene: Path) -> None:
    stand_in(small_scene)
    camera = add_camera()
    shot = add_shot(camera)
    camera["Dial"] = 40.0
    driver = camera.data.driver_add("lens").driver
    variable = driver.variables.new()
    variable.targets[0].id, variable.targets[0].data_path = camera, '["Dial"]'
    driver.expression = "var * 2"
    before = sampled(shot).intrinsics
    bpy.ops.ex4d.blend_to_source()
    assert np.allclose(sampled(shot).intrinsics, before, rtol=1e-6)
    bpy.ops.ex4d.blend_to_source()
    assert [curve.data_path for curve in camera.data.animation_data.drivers] == ["lens"]
    assert np.allclose(sampled(shot).intrinsics, before, rtol=1e-6)


@pytest.mark.parametrize("fits", [("VERTICAL", "HORIZONTAL"), ("AUTO", "VERTICAL"), ("VERTICAL", "VERTICAL")])
def test_other_sensor_fits(small_scene: Path, fits: tuple[str, str]) -> None:
    stand_in(small_scene)
    source, camera = bpy.context.scene.camera, add_camera()
    camera.data.sensor_fit, source.data.sensor_fit = fits
    source.data.shift_x, source.data.shift_y, source.data.sensor_height = 0.1, -0.2, 30
    shot = add_shot(camera, (1, 1))
    shot.width, shot.height = 400, 300
    bpy.ops.ex4d.blend_to_source()
    camera[BLEND] = 0.0
    camera.update_tag()
    expected = module("shots.sampling").look(bpy.context, source, 1, (400, 300)).intrinsics
    assert np.allclose(sampled(shot).intrinsics[0], expected, rtol=1e-5)


def test_it_works_without_the_extension(small_scene: Path, tmp_path: Path) -> None:
    """Plain property, constraint and drivers: saved, reloaded and evaluated with the extension off."""
    import addon_utils
    from conftest import EXTENSION

    stand_in(small_scene)
    camera = animated_camera()
    add_shot(camera)
    bpy.ops.ex4d.blend_to_source()
    camera[BLEND] = 0.5
    camera.update_tag()
    bpy.context.view_layer.update()
    bpy.context.scene.frame_set(8)
    before = [*camera.matrix_world.translation], camera.data.lens
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "blend.blend"))
    addon_utils.disable(EXTENSION)
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "blend.blend"))
        camera = bpy.data.objects["Mine"]
        bpy.context.scene.frame_set(3)
        bpy.context.scene.frame_set(8)
        after = (
            [*camera.matrix_world.translation],
            camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.lens,
        )
    finally:
        addon_utils.enable(EXTENSION)
    assert after[0] == pytest.approx(before[0], abs=1e-6)
    assert after[1] == pytest.approx(before[1])
    assert after[1] != pytest.approx(50, abs=1)


def test_refusals(small_scene: Path) -> None:
    stand_in(small_scene)
    source, camera = bpy.context.scene.camera, add_camera()
    add_shot(source)
    with pytest.raises(RuntimeError, match="is the filmed camera"):
        bpy.ops.ex4d.blend_to_source()
    add_shot(camera)
    other = add_camera("Other")
    other.data = camera.data
    with pytest.raises(RuntimeError, match="Make Single User"):
        bpy.ops.ex4d.blend_to_source()
    assert BLEND not in camera
    assert not camera.constraints


def test_what_the_artist_deletes_of_it_leaves_nothing(small_scene: Path) -> None:
    stand_in(small_scene)
    camera = animated_camera()
    add_shot(camera)
    before = state(camera)
    bpy.ops.ex4d.blend_to_source()
    camera.constraints.remove(camera.constraints[BLEND])  # the X in the Constraints tab
    bpy.ops.ex4d.blend_to_source()  # the button's X
    assert state(camera) == before
    bpy.ops.ex4d.blend_to_source()
    del camera[BLEND]
    bpy.ops.ex4d.blend_to_source()
    assert state(camera) == before
    bpy.ops.ex4d.blend_to_source()
    assert all(driver.driver.is_valid for thing in (camera, camera.data) for driver in thing.animation_data.drivers)
    bpy.ops.ex4d.blend_to_source()
    assert state(camera) == before
