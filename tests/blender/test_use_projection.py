"""A take thrown back onto the mesh: from the shot's camera it is the take, and other cameras see no holes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from conftest import EXTENSION, module
from mathutils import Matrix, Vector
from painted_takes import noise, write_take
from shot_cases import add_camera, add_shot
from test_mesh_fidelity import eevee, pixels, rendered, set_up, stand

SIZE = (64, 48)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def footage(small_scene: Path) -> Any:
    """The small scene, turned and moved: its box hides some of its floor."""
    placed = module("mesh.placing").place(bpy.context, small_scene, 1)
    placed.empty.location, placed.empty.rotation_euler = (3.0, -2.0, 1.0), (-1.2, 0.3, 0.7)
    set_up("CYCLES", *SIZE)
    return placed


def look(placed: Any, name: str, yaw: float, **camera: Any) -> bpy.types.Object:
    """A camera that looks at the box and the floor behind it, as wide as the filmed view, turned by degrees."""
    found = add_camera(name)
    found.data.sensor_width, found.data.lens = 64.0, 60.0
    for key, value in camera.items():
        setattr(found.data, key, value)
    bpy.context.view_layer.update()
    world = np.array(placed.empty.matrix_world) @ stand(yaw, 0, 4, 0.5) @ np.diag([1.0, -1.0, -1.0, 1.0])
    world[:3, :3] /= np.linalg.norm(world[:3, :3], axis=0)
    found.matrix_world = Matrix(world.tolist())
    bpy.context.scene.camera = found
    bpy.context.view_layer.update()
    return found


@pytest.fixture
def take_of(library_python: str, tmp_path: Path) -> Any:
    """Makes a take: of noise if no pictures are given, all of it invented if no mask is."""

    def make(name: str, color: np.ndarray | None = None, mask: np.ndarray | None = None, **how: Any) -> Path:
        color = noise(4, *SIZE, seed=int(name[-1])) if color is None else color
        mask = np.zeros(color.shape[:3], bool) if mask is None else mask
        depth = np.ones(color.shape[:3], np.float32)
        return write_take(library_python, tmp_path / name, color, mask, depth, exr=False, **how)

    return make


def accept(take: Path) -> None:
    assert bpy.ops.ex4d.import_result(directory=str(take), use={"PROJECTION"}) == {"FINISHED"}


def projections(placed: Any) -> list[bpy.types.NodesModifier]:
    """The modifiers that project."""
    return [m for m in placed.mesh.modifiers if m.node_group.get("ex4d_group") == "EX-4D Projection"]


def error(take: Path, image: np.ndarray, index: int) -> float:
    """Mean difference to the take's picture on the mesh, of 255."""
    picture = pixels(take / f"output/{index:06d}.png")
    left, top = ((a - b) // 2 for a, b in zip(picture.shape[1::-1], image.shape[1::-1], strict=True))
    inside = picture[top : top + image.shape[0], left : left + image.shape[1], :3]
    on_mesh = image[..., 3] == 255
    assert on_mesh.mean() > 0.3
    return float(np.abs(image[..., :3] - inside)[on_mesh].mean())


LENSES = {
    "plain": {},
    "shifted": {"shift_x": 0.13, "shift_y": -0.1},
    "vertical, shifted": {"sensor_fit": "VERTICAL", "sensor_height": 48.0, "shift_x": -0.1, "lens": 70.0},
}


@pytest.mark.parametrize("size", [SIZE, (40, 56)])
@pytest.mark.parametrize("lens", LENSES)
def test_from_the_shots_camera_it_is_the_take(
    footage: Any, take_of: Any, tmp_path: Path, lens: str, size: tuple[int, int]
) -> None:
    """On all of the mesh, bridges too; the camera and its lens move."""
    set_up("CYCLES", *size)
    camera = look(footage, "Shot Camera", 20, **LENSES[lens])
    camera.data.keyframe_insert("lens", frame=1)
    camera.keyframe_insert("location", frame=1)
    camera.data.lens, camera.location.z = camera.data.lens * 0.8, camera.location.z + 0.2
    camera.data.keyframe_insert("lens", frame=4)
    camera.keyframe_insert("location", frame=4)
    add_shot(camera, (1, 4))
    take = take_of("take_1", noise(4, *size))
    accept(take)
    (modifier,) = projections(footage)
    for index in (0, 2):
        image = rendered(tmp_path / "shot.png", 1 + index)
        assert error(take, image, index) < 0.05
        assert error(take, image, 1) > 30  # another frame is far off
        modifier.show_render = False
        whole = rendered(tmp_path / "whole.png", 1 + index)
        modifier.show_render = True
        assert ((whole[..., 3] == 255) & (image[..., 3] != 255)).mean() < 0.001
    drivers = footage.mesh.animation_data.drivers
    assert all(curve.driver.is_simple_expression and curve.driver.is_valid for curve in drivers)


@pytest.mark.parametrize("aspect", [(2.0, 1.0), (1.0, 1.5)])
def test_pixel_aspect_and_overscan(footage: Any, take_of: Any, tmp_path: Path, aspect: tuple[float, float]) -> None:
    render = bpy.context.scene.render
    render.pixel_aspect_x, render.pixel_aspect_y = aspect
    add_shot(look(footage, "Shot Camera", 20, shift_x=0.05), (1, 4))
    take = take_of("take_1", noise(4, 80, 60), overscan=0.25)
    accept(take)
    assert error(take, rendered(tmp_path / "shot.png", 2), 1) < 0.05


@pytest.mark.slow
def test_eevee_too(footage: Any, take_of: Any, tmp_path: Path) -> None:
    add_shot(look(footage, "Shot Camera", 20, shift_x=0.05), (1, 4))
    take = take_of("take_1")
    accept(take)
    set_up(eevee(), *SIZE)
    assert error(take, rendered(tmp_path / "shot.png", 2), 1) < 1.5


def box(placed: Any, camera: bpy.types.Object, grow: float) -> np.ndarray:
    """(H, W) bool: the pixels that the box of the first frame fills in a camera, its edges moved by pixels."""
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    corners = []
    for u, v in ((10, 16), (20, 16), (20, 32), (10, 32)):
        place = placed.empty.matrix_world @ Vector(((u - 32) / 30, (v - 24) / 30, 2.0))
        seen = world_to_camera_view(bpy.context.scene, camera, place)
        corners.append((seen.x * SIZE[0], (1 - seen.y) * SIZE[1]))
    inside = np.ones(rows.shape, bool)
    for (x, y), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        away = (columns + 0.5 - x) * (y2 - y) - (rows + 0.5 - y) * (x2 - x)
        inside &= away <= grow * np.hypot(x2 - x, y2 - y)
    return inside


@pytest.mark.parametrize("engine", ["CYCLES", pytest.param("EEVEE", marks=pytest.mark.slow)])
def test_other_cameras_see_invented_pixels_and_no_foreground_twice(
    footage: Any, take_of: Any, tmp_path: Path, engine: str
) -> None:
    """The take is red on the box, green where it was invented, blue elsewhere."""
    camera = look(footage, "Shot Camera", 12)
    seen = rendered(tmp_path / "seen.png", 1)[..., 3] > 127
    color = np.full((4, SIZE[1], SIZE[0], 3), BLUE, np.uint8)
    color[:, ~seen] = GREEN
    color[:, box(footage, camera, 0.5)] = RED
    plain = {}
    for yaw in (2, 22):
        look(footage, f"Camera {yaw}", yaw)
        plain[yaw] = rendered(tmp_path / f"plain_{yaw}.png", 1)
    add_shot(camera, (1, 4))
    bpy.context.scene.camera = camera
    accept(take_of("take_1", color, np.broadcast_to(seen, color.shape[:3])))
    bpy.context.scene.render.engine = eevee() if engine == "EEVEE" else engine
    for yaw in (2, 22):
        bpy.context.scene.camera = other = bpy.data.objects[f"Camera {yaw}"]
        image = rendered(tmp_path / f"view_{yaw}.png", 1)
        red = np.abs(image[..., :3] - RED).max(axis=-1) < 60
        assert red[box(footage, other, -1.0)].mean() > 0.9
        twice = np.lib.stride_tricks.sliding_window_view(red & ~box(footage, other, 1.5), (5, 5))
        assert not twice.all(axis=(2, 3)).any()  # an outline, of a triangle's width, may be
        if yaw == 22:
            hole = (plain[yaw][..., 3] == 0) & (image[..., 3] == 255)
            assert hole.sum() > 50
            assert (np.abs(image[hole][:, :3] - GREEN).max(axis=-1) < 60).mean() > 0.6
        else:
            floor = (plain[yaw][..., 3] == 255) & ~box(footage, other, 1.5)
            blue = np.abs(image[..., :3] - BLUE).max(axis=-1) < 60
            same = np.abs(image - plain[yaw]).max(axis=-1) < 5
            assert (same & floor).sum() > 10  # hidden behind the box in the shot: the plate
            assert ((blue | same) & floor).sum() > 0.9 * floor.sum()


def test_the_property_and_the_takes_frames(footage: Any, take_of: Any, tmp_path: Path) -> None:
    add_shot(look(footage, "Shot Camera", 15), (3, 6))
    before = {frame: rendered(tmp_path / "plate.png", frame) for frame in (2, 4)}
    take = take_of("take_1", frame_start=3)
    accept(take)
    footage.mesh["Projection"] = 0.0
    footage.mesh.update_tag()
    views = {frame: rendered(tmp_path / "view.png", frame) for frame in (2, 4)}
    for frame, view in views.items():
        both = (before[frame][..., 3] == 255) & (view[..., 3] == 255)
        assert both.mean() > 0.5
        assert np.abs(view - before[frame])[both].mean() < 1.0
        assert ((view[..., 3] == 255) & (before[frame][..., 3] == 0)).mean() < 0.05  # bridges show nothing
    footage.mesh["Projection"] = 1.0
    footage.mesh.update_tag()
    assert error(take, rendered(tmp_path / "view.png", 4), 1) < 0.05
    np.testing.assert_allclose(rendered(tmp_path / "view.png", 2), views[2], atol=1.0)


def test_another_take_and_another_shot(footage: Any, take_of: Any, tmp_path: Path) -> None:
    camera = look(footage, "Shot Camera", 15)
    add_shot(camera, (1, 4))
    accept(take_of("take_1"))
    footage.mesh["Projection"] = 0.5
    second = take_of("take_2", noise(4, 96, 72, seed=2))
    bpy.ops.ex4d.import_result(directory=str(second))
    assert bpy.ops.ex4d.replace_take() == {"FINISHED"}
    assert footage.mesh["Projection"] == 0.5
    footage.mesh["Projection"] = 1.0
    set_up("CYCLES", 96, 72)
    assert error(second, rendered(tmp_path / "view.png", 3), 2) < 0.05
    bpy.ops.ex4d.accept_take(use={"PROJECTION"})  # the same again doubles nothing
    assert [m.name for m in projections(footage)] == ["Shot 010 Projection"]
    shots = module("shots.properties")
    for name, start, expected in (("B", 5, 2), ("C", 4, 1)):  # beside, then over both
        look(footage, name, 10)
        key = shots.add_shot(bpy.context.scene, name, bpy.context.scene.camera, (start, start + 3)).key
        take = take_of(f"take_{start}", frame_start=start, shot=key)
        accept(take)
        set_up("CYCLES", *SIZE)
        assert len(projections(footage)) == expected
        assert error(take, rendered(tmp_path / "view.png", start + 1), 1) < 0.05
    assert [m.name for m in projections(footage)] == ["C Projection"]
    paths = {curve.data_path for curve in footage.mesh.animation_data.drivers}
    assert len(paths) == 7
    assert not any("Shot 010" in path for path in paths)


def test_it_stays_with_the_extension_disabled_and_without_scripts(footage: Any, take_of: Any, tmp_path: Path) -> None:
    add_shot(look(footage, "Shot Camera", 15), (1, 4))
    take = take_of("take_1")
    accept(take)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"), use_scripts=False)
        for index in (0, 3):
            assert error(take, rendered(tmp_path / "view.png", 1 + index), index) < 0.05
    finally:
        bpy.ops.preferences.addon_enable(module=EXTENSION)


def test_the_shadow_catcher_takes_no_part(footage: Any, take_of: Any) -> None:
    add_shot(look(footage, "Shot Camera", 15), (1, 4))
    accept(take_of("take_1"))
    bpy.ops.ex4d.set_up_cg()
    (catcher,) = (thing for thing in bpy.data.objects if thing.get("ex4d_role") == "shadow_catcher")
    assert [modifier.name for modifier in catcher.modifiers] == ["DW-Mesh"]
    assert all(curve.driver.is_valid for curve in catcher.animation_data.drivers)


def test_without_a_mesh_or_a_mask(footage: Any, take_of: Any) -> None:
    add_shot(look(footage, "Shot Camera", 15), (1, 4))
    take = take_of("take_1")
    (take / "mask.mp4").rename(take / "away.mp4")
    with pytest.raises(RuntimeError, match="mask.mp4"):
        accept(take)
    assert not projections(footage)
    (take / "away.mp4").rename(take / "mask.mp4")
    bpy.data.objects.remove(footage.mesh)
    with pytest.raises(RuntimeError, match="no mesh to be projected onto"):
        accept(take)


@pytest.mark.parametrize("own", ["Mine", None])
def test_a_material_of_the_artists_own(footage: Any, take_of: Any, own: str | None) -> None:
    """There is no plate in it that the projection could go on from."""
    add_shot(look(footage, "Shot Camera", 15), (1, 4))
    material = bpy.data.materials.new(own) if own else None
    module("versions.modifier_inputs").write(footage.mesh.modifiers["DW-Mesh"], "Plate", material)
    images = len(bpy.data.images)
    with pytest.raises(RuntimeError, match="as Plate of the modifier DW-Mesh, then accept"):
        accept(take_of("take_1"))
    assert (len(bpy.data.images), projections(footage)) == (images, [])


def test_a_copy_of_the_footage_gets_a_picture_of_its_own(footage: Any, take_of: Any) -> None:
    """Where nothing is projected the material shows the plate, at the time of its own footage."""
    add_shot(look(footage, "Shot Camera", 15), (1, 4))
    accept(take_of("take_1"))
    for thing in bpy.context.scene.objects:
        thing.select_set(thing in (footage.empty, footage.mesh))
    bpy.context.view_layer.objects.active = footage.empty
    bpy.ops.object.duplicate()
    copy = bpy.context.view_layer.objects.active
    assert bpy.ops.ex4d.make_single() == {"FINISHED"}
    read = module("versions.modifier_inputs").read
    (mesh,) = (child for child in copy.children if child.get("ex4d_role") == "mesh")
    first, second = (read(thing.modifiers["Shot 010 Projection"], "Material") for thing in (footage.mesh, mesh))
    assert first != second
    for material, empty in ((first, footage.empty), (second, copy)):
        (curve,) = material.node_tree.animation_data.drivers
        assert curve.driver.variables[0].targets[0].id == empty
        assert material["ex4d_use"] == "PROJECTION"
    assert not bpy.ops.ex4d.make_single.poll()


def test_of_a_clip_that_stands_there_twice_the_shots_own(footage: Any, take_of: Any, small_scene: Path) -> None:
    other = module("mesh.placing").place(bpy.context, small_scene, 1)
    add_shot(other.source_camera, (1, 4))
    take = take_of("take_1")
    document = json.loads((take / "trajectory.json").read_text())
    document["scene_hash"] = other.facts().content_hash
    (take / "trajectory.json").write_text(json.dumps(document))
    assert bpy.ops.ex4d.import_result(directory=str(take), use={"PROJECTION", "COMPOSITOR"}) == {"FINISHED"}
    assert (len(projections(footage)), len(projections(other))) == (0, 1)
    (group,) = (group for group in bpy.data.node_groups if group.get("ex4d_use") == "COMPOSITOR")
    measured = [v.targets[0].id for c in group.animation_data.drivers for v in c.driver.variables if v.name == "scale"]
    assert measured == [other.empty]
    (picture,) = (i for i in bpy.data.images if i.get("ex4d_use") == "PROJECTION" and i.source == "SEQUENCE")
    assert picture["ex4d_footage"] == other.id
