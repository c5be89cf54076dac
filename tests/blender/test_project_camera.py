"""A moving footage camera chosen in Blender: mesh and source camera follow, its scale is fitted, poses leave right."""

import json
import math
import shutil
from collections.abc import Generator
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import library, module
from mathutils import Matrix, Vector

FRAMES = 6
UNITS = 7.0
"""World units per unit of the moving scene's depth."""

# A textured floor, a back wall and a box, seen by a camera that goes sideways and turns: ray cast, no rasterizer.
_MOVING_SCENE = """
import json, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from ex4d_core.camera import Intrinsics
from ex4d_core.scene import write_scene
frames, height, width, units = 6, 96, 128, float(sys.argv[2])
lens = Intrinsics(fx=110.0, fy=110.0, cx=64.0, cy=48.0, width=width, height=height)
u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
rays = np.stack([(u - 64) / 110, (v - 48) / 110, np.ones_like(u)], -1)
def texture(p):
    waves = [np.sin(p @ k) for k in np.array([[1.3, .4, .7], [-.6, 1.9, .3], [.5, -.8, 2.1]])]
    return np.stack(waves, -1) * 0.5 + 0.5
colors, depths, poses = [], [], []
for t in range(frames):
    a = 0.02 * t
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    pose[:3, 3] = [0.9 * t, -0.2 * t, 0.5 * t]
    d, o = rays @ pose[:3, :3].T, pose[:3, 3]
    hits = [np.where(d[..., 1] > 1e-6, (6 - o[1]) / np.maximum(d[..., 1], 1e-6), np.inf), (60 - o[2]) / d[..., 2]]
    box = (14 - o[2]) / d[..., 2]
    p = o + box[..., None] * d
    hits.append(np.where((abs(p[..., 0] - 2) < 3) & (abs(p[..., 1] - 2) < 3), box, np.inf))
    z = np.min(hits, axis=0)
    p = o + z[..., None] * d
    colors.append((255 * texture(p)).astype(np.uint8))
    depths.append((z / units).astype(np.float32))
    poses.append(pose.tolist())
write_scene(Path(sys.argv[1]), colors, np.stack(depths), fps=Fraction(24), intrinsics=lens)
print(json.dumps(poses))
"""


@pytest.fixture(scope="module")
def moving(library_python: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A scene whose camera moved, which it does not know; and the camera's poses (T, 4, 4), OpenCV, world units."""
    folder = tmp_path_factory.mktemp("moving") / "moving.ex4d"
    poses = json.loads(library(library_python, _MOVING_SCENE, folder, UNITS))
    return folder, np.array(poses)


# From the scene's axes (y down, z forward) to Blender's world (z up, y forward).
UPRIGHT = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], float)
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def solve_camera(poses: np.ndarray, focal: float = 110.0) -> bpy.types.Object:
    """A keyed camera as a tracker would leave it, one key a frame from the scene's first."""
    data = bpy.data.cameras.new("Solve")
    data.sensor_width, data.lens = 36.0, focal / 128 * 36.0
    camera = bpy.data.objects.new("Solve", data)
    bpy.context.scene.collection.objects.link(camera)
    camera.rotation_mode = "QUATERNION"
    for t, pose in enumerate(poses):
        camera.matrix_world = Matrix((UPRIGHT @ pose @ FLIP).tolist())
        for path in ("location", "rotation_quaternion"):
            camera.keyframe_insert(path, frame=bpy.context.scene.frame_start + t)
    return camera


def place(folder: Path):
    """Import Scene; the footage."""
    assert bpy.ops.ex4d.import_scene(directory=str(folder)) == {"FINISHED"}
    return footage()


def footage():
    """The footage of the scene."""
    return module("placed").required(bpy.context)


def world(thing: bpy.types.Object) -> np.ndarray:
    """Its evaluated matrix without scale, as a camera's counts."""
    matrix = np.array(thing.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world)
    matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
    return matrix


def vertices() -> np.ndarray:
    """(N, 3) the mesh's vertices in world space."""
    mesh = footage().mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    flat = np.empty(len(mesh.data.vertices) * 3, np.float32)
    mesh.data.vertices.foreach_get("co", flat)
    matrix = np.array(mesh.matrix_world)
    return flat.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]


def test_mesh_and_source_camera_follow(moving: tuple[Path, np.ndarray]) -> None:
    folder, poses = moving
    placed = place(folder)
    solve = solve_camera(poses)
    assert bpy.ops.ex4d.follow_camera(camera="Solve") == {"FINISHED"}
    assert placed.empty.matrix_world.to_scale()[0] == pytest.approx(UNITS, rel=0.02)
    assert bpy.context.scene.frame_current == 1
    for t in range(FRAMES):
        bpy.context.scene.frame_set(1 + t)
        np.testing.assert_allclose(world(placed.source_camera), world(solve), atol=1e-4)


def test_what_stands_still_stands_still(moving: tuple[Path, np.ndarray]) -> None:
    """The back wall is at z = 60 of the world, which is y = 60 of Blender's, in every frame."""
    folder, poses = moving
    place(folder)
    solve_camera(poses)
    bpy.ops.ex4d.follow_camera(camera="Solve")
    for frame in (1, 3, 6):
        bpy.context.scene.frame_set(frame)
        points = vertices()
        floor = points[:, 2].min()
        assert points[:, 1].max() == pytest.approx(60, rel=0.02)
        assert floor == pytest.approx(-6, rel=0.05)


def test_a_frozen_source_time_freezes_the_mesh_where_it_was_filmed(moving: tuple[Path, np.ndarray]) -> None:
    folder, poses = moving
    placed = place(folder)
    solve_camera(poses)
    bpy.ops.ex4d.follow_camera(camera="Solve")
    bpy.context.scene.frame_set(4)
    before = vertices()
    bpy.context.scene.camera["Source Time"] = 3.0
    bpy.context.scene.camera.update_tag()
    bpy.context.scene.frame_set(6)
    np.testing.assert_allclose(vertices(), before, atol=1e-4)
    assert placed.source_camera.name in bpy.data.objects


def test_the_scale_may_be_kept(moving: tuple[Path, np.ndarray]) -> None:
    folder, poses = moving
    placed = place(folder)
    solve = solve_camera(poses)
    scale = placed.empty.scale.copy()
    bpy.ops.ex4d.follow_camera(camera="Solve", fit=False)
    assert placed.empty.scale == scale
    bpy.context.scene.frame_set(5)
    np.testing.assert_allclose(world(placed.source_camera), world(solve), atol=1e-4)


def test_poses_leave_as_if_the_footage_camera_stood_still(moving: tuple[Path, np.ndarray]) -> None:
    """What the library renders: its mesh of frame t stands at the origin, so poses are relative to the solve's."""
    folder, poses = moving
    placed = place(folder)
    solve_camera(poses)
    bpy.ops.ex4d.follow_camera(camera="Solve")
    chosen = module("project.solved")
    empty, scale = np.array(placed.empty.matrix_world), placed.empty.matrix_world.to_scale()[0]
    times = np.array([0.0, 2.4, 2.6, 5.0, 90.0])
    for offset in (np.zeros(3), np.array([0.3, -0.2, 0.5])):
        under = []
        for time in times:
            pose = poses[min(round(float(time)), FRAMES - 1)].copy()
            pose[:3, 3] += pose[:3, :3] @ (offset * scale)
            camera = UPRIGHT @ pose @ FLIP
            under.append(module("shots.camera_math").scene_pose(empty, camera))
        left = chosen.in_footage(placed, np.stack(under), times)
        expected = np.tile(np.eye(4), (len(times), 1, 1))
        expected[:, :3, 3] = offset
        np.testing.assert_allclose(left, expected, atol=2e-5)


def test_without_a_chosen_camera_poses_are_left_alone(small_scene: Path) -> None:
    placed = place(small_scene)
    poses = np.random.default_rng(0).normal(size=(3, 4, 4))
    assert module("project.solved").in_footage(placed, poses, np.zeros(3)) is poses


def test_back_to_the_footages_own(moving: tuple[Path, np.ndarray], undo_steps: None) -> None:
    folder, poses = moving
    place(folder)
    bpy.context.scene.frame_set(4)
    before = vertices()
    solve_camera(poses)
    assert not bpy.ops.ex4d.release_camera.poll()
    bpy.ops.ed.undo_push(message="Placed")
    bpy.ops.ex4d.follow_camera(camera="Solve", fit=False)
    bpy.ops.ed.undo_push(message="Follow")
    assert not np.allclose(vertices(), before, atol=1e-2)
    bpy.ops.ed.undo()
    np.testing.assert_allclose(vertices(), before, atol=1e-4)
    bpy.ops.ed.redo()
    assert not np.allclose(vertices(), before, atol=1e-2)
    bpy.ops.ex4d.release_camera()
    np.testing.assert_allclose(vertices(), before, atol=1e-4)


def test_the_artists_frame_and_unkeyed_pose_stay(moving: tuple[Path, np.ndarray]) -> None:
    folder, poses = moving
    place(folder)
    solve_camera(poses)
    other = bpy.data.objects.new("Other", bpy.data.cameras.new("Other"))
    bpy.context.scene.collection.objects.link(other)
    other.keyframe_insert("location", frame=1)
    bpy.context.scene.frame_set(3, subframe=0.25)
    other.location = (1, 2, 3)
    bpy.ops.ex4d.follow_camera(camera="Solve")
    assert tuple(other.location) == (1, 2, 3)
    assert (bpy.context.scene.frame_current, bpy.context.scene.frame_subframe) == (3, 0.25)


def test_a_constrained_parented_camera_counts_as_it_is_evaluated(moving: tuple[Path, np.ndarray]) -> None:
    folder, poses = moving
    placed = place(folder)
    solve = solve_camera(poses)
    rig = bpy.data.objects.new("Rig", None)
    bpy.context.scene.collection.objects.link(rig)
    rig.location, rig.rotation_euler, rig.scale = (3, 1, 2), (0, 0, 0.7), (2, 2, 2)
    solve.parent = rig
    target = bpy.data.objects.new("Target", None)
    bpy.context.scene.collection.objects.link(target)
    target.location = (0, 40, 0)
    constraint = solve.constraints.new("TRACK_TO")
    constraint.target = target
    bpy.ops.ex4d.follow_camera(camera="Solve", fit=False)
    for frame in (1, 4):
        bpy.context.scene.frame_set(frame)
        np.testing.assert_allclose(world(placed.source_camera), world(solve), atol=2e-4)


def test_another_lens_is_said(moving: tuple[Path, np.ndarray], capfd: pytest.CaptureFixture[str]) -> None:
    folder, poses = moving
    place(folder)
    solve_camera(poses, focal=140.0)
    bpy.ops.ex4d.follow_camera(camera="Solve", fit=False)
    assert "127 % of the focal length" in capfd.readouterr().out


def test_a_camera_that_stands_still_says_nothing_of_scale(moving: tuple[Path, np.ndarray]) -> None:
    folder, poses = moving
    place(folder)
    solve_camera(np.tile(poses[:1], (FRAMES, 1, 1)))
    with pytest.raises(RuntimeError, match="use Set Scale"):
        bpy.ops.ex4d.follow_camera(camera="Solve")
    assert "ex4d_solved" not in footage().empty


def test_refused_cameras(moving: tuple[Path, np.ndarray]) -> None:
    folder, poses = moving
    placed = place(folder)
    with pytest.raises(RuntimeError, match="no camera 'Nobody'"):
        bpy.ops.ex4d.follow_camera(camera="Nobody")
    with pytest.raises(RuntimeError, match="hangs on the footage"):
        bpy.ops.ex4d.follow_camera(camera=placed.source_camera.name)
    solve = solve_camera(poses)
    solve.data.type = "ORTHO"
    with pytest.raises(RuntimeError, match="orthographic"):
        bpy.ops.ex4d.follow_camera(camera="Solve")


def to_end(steps: Generator[float, None, float]) -> float:
    """What a generator returns."""
    while True:
        try:
            assert 0 <= next(steps) <= 1
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_the_scale_is_found_at_any_size(moving: tuple[Path, np.ndarray], scale: float, noise: float) -> None:
    """Also with depth that is a few per cent off."""
    folder, poses = moving
    facts, camera, fit = (
        module("scene_folder").read_scene(folder),
        module("project.footage_camera"),
        module("project.scale_fit"),
    )
    read = module("mesh.depth_survey").read_depth
    rng, views = np.random.default_rng(1), []
    for t in range(0, FRAMES, 2):
        depth = read(facts, t) * np.exp(noise * rng.normal(size=(facts.height, facts.width)))
        pose = poses[t].copy()
        pose[:3, 3] *= scale
        views.append(fit.view(depth, camera.read_color(facts, t), facts.intrinsics[t], pose))
    assert to_end(fit.fit_scale(views)) == pytest.approx(UNITS * scale, rel=0.02 if noise == 0 else 0.05)


def test_footage_that_a_turn_of_the_head_shows_again_is_not_guessed(moving: tuple[Path, np.ndarray]) -> None:
    """A camera that moves by a hair: every scale explains it."""
    folder, _poses = moving
    facts, camera, fit = (
        module("scene_folder").read_scene(folder),
        module("project.footage_camera"),
        module("project.scale_fit"),
    )
    depth, color = module("mesh.depth_survey").read_depth(facts, 0), camera.read_color(facts, 0)
    views = []
    for t in range(3):
        pose = np.eye(4)
        pose[0, 3] = 1e-9 * t
        views.append(fit.view(depth, color, facts.intrinsics[0], pose))
    with pytest.raises(module("errors").UserError, match="do not tell the scale"):
        to_end(fit.fit_scale(views))


def test_survives_without_the_extension(moving: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    folder, poses = moving
    target = shutil.copytree(folder, tmp_path / "moving.ex4d")
    placed = place(target)
    solve_camera(poses)
    bpy.ops.ex4d.follow_camera(camera="Solve")
    bpy.context.scene.frame_set(5)
    before, seen = vertices(), world(placed.source_camera)
    bpy.data.objects.remove(bpy.data.objects["Solve"])  # not needed any more either
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.context.scene.frame_set(5)
    np.testing.assert_allclose(vertices(), before, atol=1e-5)
    np.testing.assert_allclose(world(footage().source_camera), seen, atol=1e-5)
    assert math.isfinite(Vector(before[0]).length)


def test_a_clip_that_runs_backward_is_sampled_backward(moving: tuple[Path, np.ndarray]) -> None:
    folder, poses = moving
    placed = place(folder)
    solve = solve_camera(poses)
    scene = bpy.context.scene
    placed.empty["Frame Start"], placed.empty["Speed"] = float(scene.frame_start + FRAMES - 1), -1.0
    placed.empty.update_tag()
    bpy.ops.ex4d.follow_camera(camera="Solve", fit=False)
    for frame in (scene.frame_start, scene.frame_start + 3):
        scene.frame_set(frame)
        np.testing.assert_allclose(world(footage().source_camera), world(solve), atol=2e-4)


@pytest.mark.parametrize("first", [True, False])
def test_a_linked_camera_of_the_same_name(moving: tuple[Path, np.ndarray], tmp_path: Path, first: bool) -> None:
    """Each can be chosen: the menu calls the other file's by its full name."""
    folder, poses = moving
    solve_camera(poses)
    bpy.data.libraries.write(str(tmp_path / "other.blend"), {bpy.data.objects["Solve"]})
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)

    def link() -> bpy.types.Object:
        with bpy.data.libraries.load(str(tmp_path / "other.blend"), link=True) as (_, to):
            to.objects = ["Solve"]
        bpy.context.scene.collection.objects.link(to.objects[0])
        return to.objects[0]

    place(folder)
    linked = link() if first else None
    own = solve_camera(poses)
    own.parent = bpy.data.objects.new("Aside", None)
    bpy.context.scene.collection.objects.link(own.parent)
    own.parent.location = (3, 0, 0)
    linked = linked or link()
    for camera in (own, linked):
        assert bpy.ops.ex4d.follow_camera(camera=camera.name_full, fit=False) == {"FINISHED"}
        bpy.context.scene.frame_set(4)
        np.testing.assert_allclose(world(footage().source_camera), world(camera), atol=2e-4)


def test_the_view_is_said_once(moving: tuple[Path, np.ndarray], capfd: pytest.CaptureFixture[str]) -> None:
    folder, _ = moving
    bpy.context.scene.view_settings.view_transform = "AgX"
    for _ in range(3):
        place(folder)
    assert capfd.readouterr().out.count("changes the footage's colours") == 1
