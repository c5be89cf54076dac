"""A take as a plane: seen through the shot's camera it is the take, whatever the lens does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import EXTENSION, module
from shot_cases import add_camera
from take_cases import paint
from test_mesh_fidelity import eevee, pixels, rendered, set_up


def shoot(take: Path, size: tuple[int, int], frames: int = 4, **camera: Any) -> tuple[Any, bpy.types.Object]:
    """A shot through a camera of its own, and the take accepted as a plane; the plane."""
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = size
    owner = add_camera("Shot Camera", (3.0, -2.0, 1.0))
    owner.rotation_euler = 1.2, 0.1, 0.7
    for name, value in camera.items():
        setattr(owner.data, name, value)
    scene.camera = owner
    shot = module("shots.properties").add_shot(scene, "Shot 010", owner, (1, frames))
    assert bpy.ops.ex4d.import_result(directory=str(take), use={"PLANE"}) == {"FINISHED"}
    (plane,) = (thing for thing in scene.objects if thing.get("ex4d_use") == "PLANE")
    return shot, plane


def error(take: Path, image: np.ndarray, index: int) -> float:
    """Mean difference to the take's picture, of 255."""
    return float(np.abs(image - pixels(take / f"output/{index:06d}.png"))[..., :3].mean())


LENSES = {
    "wide": {"lens": 14.0},
    "long, vertical": {"lens": 85.0, "sensor_fit": "VERTICAL", "sensor_height": 20.0},
    "shifted": {"lens": 35.0, "shift_x": 0.13, "shift_y": -0.21},
    "shifted, horizontal": {"lens": 50.0, "sensor_fit": "HORIZONTAL", "shift_x": -0.3, "shift_y": 0.4},
}


@pytest.mark.parametrize("size", [(64, 36), (40, 56)])
@pytest.mark.parametrize("lens", LENSES)
def test_cycles_shows_the_take(tmp_path: Path, lens: str, size: tuple[int, int]) -> None:
    take = paint(tmp_path / "take_001", size)
    _, plane = shoot(take, size, **LENSES[lens])
    set_up("CYCLES", *size)
    for index in (0, 3):
        image = rendered(tmp_path / f"{index}.png", 1 + index)
        assert (image[..., 3] == 255).all()
        assert error(take, image, index) < 0.05
    assert error(take, image, 0) > 30  # noise: another frame is far off
    assert all(curve.driver.is_simple_expression for curve in plane.animation_data.drivers)
    assert all(curve.driver.is_valid for curve in plane.animation_data.drivers)


@pytest.mark.parametrize("aspect", [(2.0, 1.0), (1.0, 1.5)])
@pytest.mark.parametrize("fit", ["AUTO", "HORIZONTAL", "VERTICAL"])
def test_pixel_aspect(tmp_path: Path, aspect: tuple[float, float], fit: str) -> None:
    size = (48, 40)
    take = paint(tmp_path / "take_001", size)
    render = bpy.context.scene.render
    shoot(take, size, lens=30.0, shift_x=0.2, shift_y=0.1, sensor_fit=fit)
    set_up("CYCLES", *size)
    render.pixel_aspect_x, render.pixel_aspect_y = aspect
    assert error(take, rendered(tmp_path / "view.png", 2), 1) < 0.05


def test_the_lens_moves_and_the_distance_is_keyed(tmp_path: Path) -> None:
    size = (64, 36)
    take = paint(tmp_path / "take_001", size)
    shot, plane = shoot(take, size)
    data = shot.camera.data
    for frame, lens, shift, sensor, distance in ((1, 20.0, 0.0, 36.0, 2.0), (4, 70.0, 0.3, 24.0, 40.0)):
        data.lens, data.shift_x, data.sensor_width, plane["Distance"] = lens, shift, sensor, distance
        for thing, path in ((data, "lens"), (data, "shift_x"), (data, "sensor_width"), (plane, '["Distance"]')):
            thing.keyframe_insert(path, frame=frame)
    set_up("CYCLES", *size)
    for index in range(4):
        assert error(take, rendered(tmp_path / f"{index}.png", 1 + index), index) < 0.05
    for frame, distance in ((1, 2.0), (4, 40.0)):
        bpy.context.scene.frame_set(frame)
        away = shot.camera.matrix_world.inverted() @ plane.matrix_world.translation
        assert away.z == pytest.approx(-distance, rel=1e-5)


def test_a_scaled_camera(tmp_path: Path) -> None:
    """Blender takes a camera's scale out of its view, and leaves it in what hangs on it."""
    size = (64, 36)
    take = paint(tmp_path / "take_001", size)
    shot, plane = shoot(take, size, shift_x=0.2)
    shot.camera.scale = (2.0, 3.0, 0.5)
    plane["Distance"] = 4.0
    plane.update_tag()
    set_up("CYCLES", *size)
    assert error(take, rendered(tmp_path / "view.png", 1), 0) < 0.05
    away = shot.camera.matrix_world.normalized().inverted() @ plane.matrix_world.translation
    assert away.z == pytest.approx(-4.0, rel=1e-5)


@pytest.mark.parametrize("overscan", [0.1, 0.5])
def test_overscan_lies_beyond_the_frame(tmp_path: Path, overscan: float) -> None:
    size = (40, 20)
    whole = round(40 * (1 + overscan)), round(20 * (1 + overscan))
    take = paint(tmp_path / "take_001", whole, overscan=overscan)
    shoot(take, size, lens=40.0, shift_y=0.1)
    set_up("CYCLES", *size)
    image = rendered(tmp_path / "view.png", 1)
    left, top = (whole[0] - 40) // 2, (whole[1] - 20) // 2
    inside = pixels(take / "output/000000.png")[top : top + 20, left : left + 40]
    assert np.abs(image - inside)[..., :3].mean() < 0.05


def test_it_is_there_for_its_frames_and_for_the_camera_alone(tmp_path: Path) -> None:
    size = (32, 18)
    take = paint(tmp_path / "take_001", size, frame_start=5)
    _, plane = shoot(take, size)
    set_up("CYCLES", *size)
    for frame, there in ((4, False), (5, True), (8, True), (9, False)):
        assert (rendered(tmp_path / "view.png", frame)[..., 3] > 0).all() == there, frame
    rays = ("camera", "diffuse", "glossy", "transmission", "volume_scatter", "shadow")
    assert [ray for ray in rays if getattr(plane, f"visible_{ray}")] == ["camera"]


def test_workbench_shows_it_too(tmp_path: Path) -> None:
    size = (64, 36)
    take = paint(tmp_path / "take_001", size, smooth=True)
    shoot(take, size, lens=30.0, shift_x=0.1)
    set_up("BLENDER_WORKBENCH", *size)
    bpy.context.scene.display.shading.light, bpy.context.scene.display.shading.color_type = "FLAT", "TEXTURE"
    bpy.context.scene.display.render_aa = "OFF"
    assert error(take, rendered(tmp_path / "view.png", 3), 2) < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("lens", LENSES)
def test_eevee_shows_the_take(tmp_path: Path, lens: str) -> None:
    size = (64, 36)
    take = paint(tmp_path / "take_001", size)
    shoot(take, size, **LENSES[lens])
    set_up(eevee(), *size)
    assert error(take, rendered(tmp_path / "view.png", 3), 2) < 1.0


def test_it_stays_with_the_extension_disabled_and_without_scripts(tmp_path: Path) -> None:
    size = (32, 18)
    take = paint(tmp_path / "take_001", size)
    shot, _ = shoot(take, size)
    shot.camera.data.keyframe_insert("lens", frame=1)
    shot.camera.data.lens = 90.0
    shot.camera.data.keyframe_insert("lens", frame=4)
    set_up("CYCLES", *size)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert not bpy.context.preferences.filepaths.use_scripts_auto_execute
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"), use_scripts=False)
        for index in range(4):
            assert error(take, rendered(tmp_path / f"{index}.png", 1 + index), index) < 0.05
    finally:
        bpy.ops.preferences.addon_enable(module=EXTENSION)


def test_something_in_front_hides_it(tmp_path: Path) -> None:
    size = (32, 18)
    take = paint(tmp_path / "take_001", size)
    shot, plane = shoot(take, size)
    plane["Distance"] = 5.0
    plane.update_tag()
    bpy.ops.mesh.primitive_cube_add(size=1.0)
    cube = bpy.context.object
    cube.parent, cube.is_holdout = shot.camera, True
    set_up("CYCLES", *size)
    cube.location.z = -2.0
    assert (rendered(tmp_path / "front.png", 1)[..., 3] == 0).any()
    cube.location.z = -9.0
    assert (rendered(tmp_path / "behind.png", 1)[..., 3] == 255).all()


def test_cameras_that_no_take_is_made_for(tmp_path: Path) -> None:
    size = (32, 18)
    shot, _ = shoot(paint(tmp_path / "take_001", size), size)
    shot.camera.data.type = "ORTHO"
    with pytest.raises(RuntimeError, match="is orthographic"):
        bpy.ops.ex4d.accept_take(use={"PLANE"})
    bpy.data.objects.remove(shot.camera)
    with pytest.raises(RuntimeError, match="lost its camera"):
        bpy.ops.ex4d.accept_take(use={"PLANE"})


def test_the_shot_gets_another_camera(tmp_path: Path) -> None:
    """The next accept hangs the plane on it, at its distance."""
    size = (64, 36)
    take = paint(tmp_path / "take_001", size)
    shot, plane = shoot(take, size)
    plane["Distance"] = 2.5
    other = add_camera("Other", (30.0, 0.0, 0.0))
    other.data.lens, other.data.shift_x = 20.0, 0.1
    shot.camera = bpy.context.scene.camera = other
    assert bpy.ops.ex4d.accept_take(use={"PLANE"}) == {"FINISHED"}
    assert (plane.parent, plane["Distance"]) == (other, 2.5)
    set_up("CYCLES", *size)
    assert error(take, rendered(tmp_path / "view.png", 2), 1) < 0.05


def test_undo_takes_it_back(tmp_path: Path, undo_steps: None) -> None:
    shoot(paint(tmp_path / "take_001", (32, 18)), (32, 18))
    bpy.ops.ed.undo_push(message="Import Result")
    bpy.ops.ed.undo_push(message="More")
    bpy.ops.ed.undo()
    (shot,) = bpy.context.scene.ex4d_shots
    assert json.loads(shot.takes[0].settings)["seed"] == 0
    bpy.ops.ed.undo()
    assert not any(thing.get("ex4d_use") for thing in bpy.data.objects)
