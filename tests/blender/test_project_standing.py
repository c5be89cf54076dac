"""Scale from a distance, ground from three points, picked points, how far viewports see, the view transform."""

import math
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Euler, Matrix, Vector


def place(folder: Path):
    """Import Scene; the footage."""
    assert bpy.ops.ex4d.import_scene(directory=str(folder)) == {"FINISHED"}
    return footage()


def footage():
    """The footage of the scene."""
    return module("placed").required(bpy.context)


def under(placed, *points: tuple[float, float, float]) -> list[Vector]:
    """Points of the scene (OpenCV axes, scene units) in the world."""
    bpy.context.view_layer.update()
    return [placed.empty.matrix_world @ Vector(point) for point in points]


# --- Scale --------------------------------------------------------------------------------------------------------


def test_two_points_get_their_distance(small_scene: Path) -> None:
    placed = place(small_scene)
    placed.empty.location = (1, 2, 3)
    marks = (0.2, 0.1, 4.0), (1.4, -0.3, 6.0)
    a, b = under(placed, *marks)
    origin = placed.empty.location.copy()
    assert bpy.ops.ex4d.set_scale(point_a=a, point_b=b, distance=2.5) == {"FINISHED"}
    a, b = under(placed, *marks)
    assert (a - b).length == pytest.approx(2.5, rel=1e-5)
    assert placed.empty.location == origin, "the camera stays where it is"
    assert placed.empty.scale.x == placed.empty.scale.y == placed.empty.scale.z


def test_scale_under_a_parent(small_scene: Path) -> None:
    placed = place(small_scene)
    parent = bpy.data.objects.new("Parent", None)
    bpy.context.scene.collection.objects.link(parent)
    parent.scale, parent.rotation_euler = (3, 3, 3), (0.3, 0.2, 0.1)
    placed.empty.parent = parent
    marks = (0.2, 0.1, 4.0), (1.4, -0.3, 6.0)
    a, b = under(placed, *marks)
    bpy.ops.ex4d.set_scale(point_a=a, point_b=b, distance=0.75)
    a, b = under(placed, *marks)
    assert (a - b).length == pytest.approx(0.75, rel=1e-5)


def test_a_grown_scene_stays_in_sight(small_scene: Path) -> None:
    placed = place(small_scene)
    end = placed.source_camera.data.clip_end
    bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=50)
    assert placed.source_camera.data.clip_end == pytest.approx(50 * end)
    bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=0.01)
    assert placed.source_camera.data.clip_end == pytest.approx(50 * end), "nothing is taken away"


@pytest.mark.parametrize(
    ("points", "distance", "said"),
    [
        (((1, 1, 1), (1, 1, 1)), 1.0, "lie on one another"),
        (((0, 0, 0), (1, 0, 0)), 0.0, "more than 0"),
    ],
)
def test_impossible_scales(small_scene: Path, points: tuple, distance: float, said: str) -> None:
    placed = place(small_scene)
    before = placed.empty.scale.copy()
    with pytest.raises(RuntimeError, match=said):
        bpy.ops.ex4d.set_scale(point_a=points[0], point_b=points[1], distance=distance)
    assert placed.empty.scale == before


def keyed(empty: bpy.types.Object, path: str) -> None:
    empty.keyframe_insert(path, frame=1)


def driven(empty: bpy.types.Object, path: str) -> None:
    driver = empty.driver_add(path, 0).driver
    driver.expression = repr(getattr(empty, path)[0])  # Blender's own is rounded


@pytest.mark.parametrize("animate", [keyed, driven])
def test_an_animated_empty_is_said(small_scene: Path, animate: object) -> None:
    placed = place(small_scene)
    animate(placed.empty, "scale")
    with pytest.raises(RuntimeError, match=r"scale of small is animated"):
        bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=2)
    triangle = {"point_a": (0, 0, 0), "point_b": (1, 0, 0), "point_c": (0, 1, 1)}
    assert bpy.ops.ex4d.set_ground(**triangle) == {"FINISHED"}, "its place is free"
    animate(placed.empty, "rotation_euler")
    with pytest.raises(RuntimeError, match=r"rotation of small is animated"):
        bpy.ops.ex4d.set_ground(**triangle)


def test_scale_can_be_undone(small_scene: Path, undo_steps: None) -> None:
    place(small_scene)
    bpy.ops.ed.undo_push(message="Import Scene")
    before = footage().empty.scale.copy()
    bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=2)
    bpy.ops.ed.undo_push(message="Scale")
    bpy.ops.ed.undo()
    assert footage().empty.scale == before
    bpy.ops.ed.redo()
    assert footage().empty.scale == before * 2


# --- Ground -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_three_points_lie_on_the_ground(small_scene: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    placed = place(small_scene)
    if seed % 2:
        parent = bpy.data.objects.new("Parent", None)
        bpy.context.scene.collection.objects.link(parent)
        parent.location, parent.rotation_euler = rng.normal(size=3), rng.normal(size=3)
        placed.empty.parent = parent
    placed.empty.location, placed.empty.rotation_euler = rng.normal(size=3), Euler(rng.normal(size=3))
    scale = placed.empty.scale.copy()
    # Below the camera, in the scene's axes: y is down.
    marks = [(x, 1.5 + 0.1 * x - 0.05 * z, z) for x, z in ((-1, 4), (1.5, 5), (0.2, 8))]
    points = under(placed, *marks)
    assert bpy.ops.ex4d.set_ground(point_a=points[0], point_b=points[1], point_c=points[2]) == {"FINISHED"}
    lying = under(placed, *marks)
    assert [abs(point.z) < 1e-4 for point in lying] == [True] * 3
    assert placed.source_camera.matrix_world.translation.z > 0, "the camera is above"
    assert (lying[0].xy - points[0].xy).length < 1e-4, "it turns about the first point"
    np.testing.assert_allclose(placed.empty.scale, scale, rtol=1e-5)


def test_ground_that_lies_already_stays(small_scene: Path) -> None:
    placed = place(small_scene)
    before = placed.empty.matrix_world.copy()
    bpy.context.view_layer.update()
    before = placed.empty.matrix_world.copy()
    placed.source_camera.location = (0, -1, 0)
    bpy.context.view_layer.update()
    bpy.ops.ex4d.set_ground(point_a=(0, 0, 0), point_b=(1, 0, 0), point_c=(0, 1, 0))
    np.testing.assert_allclose(placed.empty.matrix_world, before, atol=1e-6)


def test_ground_is_turned_by_the_least_angle() -> None:
    """The heading stays: a floor that leans sideways by 10 degrees is turned back by 10, and not about."""
    lean = Matrix.Rotation(math.radians(10), 4, "Y")
    points = [lean @ Vector(point) for point in ((0, 2, 0), (1, 3, 0), (-1, 5, 0))]
    motion = module("project.standing").ground_matrix(points, Vector((0, 0, 5)))
    turn = motion.to_quaternion()
    assert math.degrees(turn.angle) == pytest.approx(10, abs=1e-3)


@pytest.mark.parametrize("third", [(2, 0, 0), (0, 0, 0), (3, 1e-5, 0)])
def test_points_on_a_line_are_said(small_scene: Path, third: tuple) -> None:
    place(small_scene)
    with pytest.raises(RuntimeError, match="lie on a line"):
        bpy.ops.ex4d.set_ground(point_a=(0, 0, 0), point_b=(1, 0, 0), point_c=third)


def test_a_constrained_empty_is_said(small_scene: Path) -> None:
    placed = place(small_scene)
    placed.empty.constraints.new("COPY_ROTATION")
    with pytest.raises(RuntimeError, match="held by a constraint"):
        bpy.ops.ex4d.set_ground(point_a=(0, 0, 0), point_b=(1, 0, 0), point_c=(0, 1, 0))


# --- Picking ------------------------------------------------------------------------------------------------------


def test_a_ray_from_the_camera_meets_what_it_sees(small_scene: Path) -> None:
    """Pixel (15, 24) of frame 0 is in the box, at depth 2; (50, 40) on the floor."""
    placed = place(small_scene)
    placed.empty.location, placed.empty.rotation_euler = (1, 2, 3), (-1.2, 0.3, 0.4)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    empty = placed.empty.evaluated_get(depsgraph).matrix_world
    cast = module("project.picking").cast
    floor = 8 - 4 * 40 / 47
    for u, v, depth in ((15.5, 24.5, 2.0), (50.5, 40.5, floor)):
        seen = Vector(((u - 32) / 60, (v - 24) / 60, 1.0)) * depth
        direction = empty @ seen - empty.translation
        hit = cast(depsgraph, placed, empty.translation, direction)
        np.testing.assert_allclose(hit, empty @ seen, atol=0.01 * depth * empty.to_scale()[0])
    assert cast(depsgraph, placed, empty.translation, -direction) is None


def test_other_objects_are_not_picked(small_scene: Path) -> None:
    placed = place(small_scene)
    bpy.context.view_layer.update()
    bpy.ops.mesh.primitive_plane_add(size=100, location=(0, 0.1, 0), rotation=(math.pi / 2, 0, 0))
    depsgraph = bpy.context.evaluated_depsgraph_get()
    hit = module("project.picking").cast(depsgraph, footage_named(placed.id), Vector((0, 0, 0)), Vector((0, 1, 0)))
    assert hit.y > 1


def footage_named(id_: str):
    """Found by its id, whatever is active."""
    return module("placed").find(bpy.context.scene, id_)


def test_a_hidden_mesh_is_said(small_scene: Path) -> None:
    placed = place(small_scene)
    placed.mesh.hide_viewport = True
    with pytest.raises(module("errors").UserError, match="not there or hidden"):
        module("project.picking").cast(
            bpy.context.evaluated_depsgraph_get(), placed, Vector((0, 0, 0)), Vector((0, 1, 0))
        )


def test_picking_from_a_script_says_what_to_call(small_scene: Path) -> None:
    place(small_scene)
    screen = bpy.context.window_manager.windows[0].screen if bpy.context.window_manager.windows else None
    area = next((area for area in screen.areas if area.type == "VIEW_3D"), None) if screen else None
    if area is None:
        assert not bpy.ops.ex4d.pick_scale.poll()
        return
    with bpy.context.temp_override(area=area), pytest.raises(RuntimeError, match=r"ex4d\.set_scale"):
        bpy.ops.ex4d.pick_scale()


# --- Viewports ----------------------------------------------------------------------------------------------------


def test_viewports_are_extended_on_request_only(small_scene: Path) -> None:
    bpy.ops.wm.read_homefile(use_empty=False, use_factory_startup=True)
    clipping = module("project.clipping")
    spaces = list(clipping.spaces())
    assert spaces, "the factory file has viewports"
    ends = [space.clip_end for space in spaces]
    placed = place(small_scene)
    placed.source_camera.data.clip_end = 12345.0
    assert [space.clip_end for space in spaces] == ends
    assert all(clipping.too_short(space, bpy.context.scene) for space in spaces)
    assert bpy.ops.ex4d.extend_viewports() == {"FINISHED"}
    assert [space.clip_end for space in clipping.spaces()] == [12345.0] * len(spaces)
    assert not any(clipping.too_short(space, bpy.context.scene) for space in clipping.spaces())


# --- View transform -----------------------------------------------------------------------------------------------


def rendered(tmp_path: Path) -> np.ndarray:
    """(H, W, 3) uint8 the scene through Cycles from its camera, as a PNG shows it."""
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 1, "CPU"
    scene.cycles.use_denoising = False
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 0.01
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(tmp_path / "render.png")
    bpy.ops.render.render(write_still=True)
    return pixels(tmp_path / "render.png")


def pixels(path: Path) -> np.ndarray:
    """(H, W, 3) int the numbers of a PNG."""
    image = bpy.data.images.load(str(path), check_existing=False)
    image.colorspace_settings.is_data = True
    flat = np.empty(image.size[0] * image.size[1] * image.channels, np.float32)
    image.pixels.foreach_get(flat)
    shown = flat.reshape(image.size[1], image.size[0], image.channels)[::-1, :, :3]
    bpy.data.images.remove(image)
    return (shown * 255 + 0.5).astype(int)


def off(scene: Path, tmp_path: Path) -> float:
    """By how much the middle one of all pixels is off, of 255: edges between surfaces are the mesh's matter."""
    return float(np.median(np.abs(rendered(tmp_path) - pixels(scene / "color/000000.png"))))


def set_view(transform: str) -> None:
    bpy.context.scene.view_settings.view_transform = transform


def test_the_view_is_told_and_not_changed(small_scene: Path, capfd: pytest.CaptureFixture[str]) -> None:
    set_view("AgX")
    placed = place(small_scene)
    assert bpy.context.scene.view_settings.view_transform == "AgX"
    assert capfd.readouterr().out.count("Set View to Standard") == 1
    assert not module("project.view").exact(bpy.context.scene, placed)


def test_under_standard_nothing_is_said(small_scene: Path, capfd: pytest.CaptureFixture[str]) -> None:
    set_view("Standard")
    placed = place(small_scene)
    assert "Set View" not in capfd.readouterr().out
    assert module("project.view").exact(bpy.context.scene, placed)


@pytest.mark.parametrize("start", ["AgX", "Filmic"])
def test_set_view_to_standard_is_exact(small_scene: Path, tmp_path: Path, start: str) -> None:
    set_view(start)
    placed = place(small_scene)
    view = bpy.context.scene.view_settings
    view.exposure, view.gamma = 0.5, 1.1
    assert not module("project.view").exact(bpy.context.scene, placed)
    assert bpy.ops.ex4d.set_view_standard() == {"FINISHED"}
    assert module("project.view").exact(bpy.context.scene, placed)
    assert off(small_scene, tmp_path) <= 1


def test_agx_is_not(small_scene: Path, tmp_path: Path) -> None:
    set_view("AgX")
    place(small_scene)
    assert off(small_scene, tmp_path) > 4, "the measure sees a film look"


def test_filmic_goes_through_its_inverse(small_scene: Path, tmp_path: Path) -> None:
    set_view("Filmic")
    placed = place(small_scene)
    assert module("project.view").exact(bpy.context.scene, placed), "a scene on Filmic gets its inverse at once"
    assert off(small_scene, tmp_path) <= 1
    set_view("Standard")
    assert not module("project.view").exact(bpy.context.scene, placed)
    bpy.ops.ex4d.fit_plate()
    assert module("project.view").exact(bpy.context.scene, placed)
