"""Trajectories sampled from Blender's cameras: right, quick, and without a trace."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import library, module
from mathutils import Matrix, Vector
from shot_cases import add_camera, add_shot, stand_in

_CHECK = """
import json, sys
from ex4d_core.camera import trajectory_from_document, invert_pose
import numpy as np
for name in sys.argv[1:]:
    case = json.load(open(name))
    path = trajectory_from_document(case["trajectory"])
    points = np.array(case["points"])  # (N, 3) scene space
    for t in range(len(path)):
        seen = points @ invert_pose(path.c2w[t])[:3, :3].T + invert_pose(path.c2w[t])[:3, 3]
        fx, fy, cx, cy = path.intrinsics[t]
        image = seen[:, :2] / seen[:, 2:] * [fx, fy] + [cx, cy]
        ahead = seen[:, 2] > 0.05
        error = np.abs(image - np.array(case["seen"][t]))[ahead]
        print(int(ahead.sum()), error.max() if ahead.any() else 0.0)
"""


def _random_case(seed: int, empty: bpy.types.Object) -> bpy.types.Object:
    """A camera with any lens, shift and sensor, animated; in turn parented, constrained, driven, on a path."""
    random, scene = np.random.default_rng(seed), bpy.context.scene
    camera = add_camera("Artist")
    data = camera.data
    data.sensor_fit = ("AUTO", "HORIZONTAL", "VERTICAL")[seed % 3]
    data.sensor_width, data.sensor_height = random.uniform(20, 50, 2)
    scene.render.resolution_x, scene.render.resolution_y = ((832, 480), (480, 832), (513, 511), (1920, 803))[seed % 4]
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = ((1, 1), (2, 1), (1, 1.5), (1, 1), (1.8, 1.1))[seed % 5]
    empty.location, empty.rotation_euler = random.normal(size=3) * 5, random.uniform(-3, 3, 3)
    empty.scale = [random.uniform(0.05, 8)] * 3
    if seed % 3 == 1:  # the footage itself moves
        empty.keyframe_insert("location", frame=1)
        empty.location = random.normal(size=3) * 5
        empty.keyframe_insert("location", frame=6)
    for frame in (1, 3, 6):
        data.lens = random.uniform(15, 80)
        data.shift_x, data.shift_y = random.uniform(-0.3, 0.3, 2)
        camera.location, camera.rotation_euler = random.normal(size=3), random.uniform(-3, 3, 3)
        for thing, paths in ((data, ("lens", "shift_x", "shift_y")), (camera, ("location", "rotation_euler"))):
            for path in paths:
                thing.keyframe_insert(path, frame=frame)
    if seed % 2:
        parent = bpy.data.objects.new("Parent", None)
        scene.collection.objects.link(parent)
        parent.scale, parent.location = [random.uniform(0.3, 3)] * 3, random.normal(size=3)
        parent.keyframe_insert("rotation_euler", frame=1)
        parent.rotation_euler = random.uniform(-2, 2, 3)
        parent.keyframe_insert("rotation_euler", frame=6)
        camera.parent = parent
    if seed % 4 == 2:
        target = bpy.data.objects.new("Target", None)
        target.location = random.normal(size=3) * 4
        scene.collection.objects.link(target)
        track = camera.constraints.new("TRACK_TO")
        track.target, track.track_axis, track.up_axis = target, "TRACK_NEGATIVE_Z", "UP_Y"
    if seed % 5 == 3:
        curve = bpy.data.curves.new("Path", "CURVE")
        curve.dimensions = "3D"
        spline = curve.splines.new("BEZIER")
        spline.bezier_points.add(2)
        for point in spline.bezier_points:
            point.co, point.handle_left_type = random.normal(size=3) * 3, "AUTO"
            point.handle_right_type = "AUTO"
        path = bpy.data.objects.new("Path", curve)
        scene.collection.objects.link(path)
        follow = camera.constraints.new("FOLLOW_PATH")
        follow.target, follow.use_fixed_location = path, True
        follow.keyframe_insert("offset_factor", frame=1)
        follow.offset_factor = 1.0
        follow.keyframe_insert("offset_factor", frame=6)
    if seed % 5 == 4:
        driver = camera.driver_add("delta_location", 0).driver
        variable = driver.variables.new()
        for frame, push in ((1, 0.0), (6, 2.0)):
            camera["Push"] = push
            camera.keyframe_insert('["Push"]', frame=frame)
        variable.name, variable.targets[0].id = "push", camera
        variable.targets[0].data_path, driver.expression = '["Push"]', "push * 0.3"
    return camera


def _projected(camera: bpy.types.Object, empty: bpy.types.Object, points: np.ndarray, shot: object) -> list:
    """(T, N, 2) image positions of points in scene space, by Blender's own matrices in the artist's scene."""
    scene, seen = bpy.context.scene, []
    for frame in shot.frames:
        scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        posed = camera.evaluated_get(depsgraph)
        world = np.array(empty.evaluated_get(depsgraph).matrix_world, np.float64)
        projection = np.array(
            posed.calc_matrix_camera(
                depsgraph,
                x=shot.width,
                y=shot.height,
                scale_x=scene.render.pixel_aspect_x,
                scale_y=scene.render.pixel_aspect_y,
            ),
            np.float64,
        )
        view = np.array(posed.matrix_world, np.float64)
        view[:3, :3] /= np.linalg.norm(view[:3, :3], axis=0)
        clip = np.c_[points, np.ones(len(points))] @ (projection @ np.linalg.inv(view) @ world).T
        with np.errstate(all="ignore"):
            image = (clip[:, :2] / clip[:, 3:] * [0.5, -0.5] + 0.5) * [shot.width, shot.height]
        seen.append(np.nan_to_num(image).tolist())
    return seen


def test_twenty_random_cameras_agree_with_blender(small_scene: Path, library_python: str, tmp_path: Path) -> None:
    """Points projected by Blender and by the exported trajectory, read by the library: within 1e-3 px."""
    names = []
    for seed in range(20):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        empty = stand_in(small_scene)
        camera = _random_case(seed, empty)
        shot = add_shot(camera, (1, 6))
        sample = module("shots.sampling").sample(bpy.context, shot)
        # Points before the cameras, where their pictures are: elsewhere any error is magnified.
        random, points = np.random.default_rng(seed), []
        for t in range(6):
            fx, fy, cx, cy = sample.intrinsics[t]
            depth = random.uniform(0.5, 8, 20)
            image = random.uniform(-0.1, 1.1, (20, 2)) * [shot.width, shot.height]
            ray = np.c_[(image - [cx, cy]) / [fx, fy], np.ones(20)] * depth[:, None]
            points.append(ray @ sample.c2w[t, :3, :3].T + sample.c2w[t, :3, 3])
        points = np.array(points)
        seen = [_projected(camera, empty, points[t], shot)[t] for t in range(6)]
        for t in range(6):
            one = module("shots.trajectory").document(sample)
            one["frames"] = one["frames"][t : t + 1]
            file = tmp_path / f"{seed}-{t}.json"
            file.write_text(json.dumps({"trajectory": one, "points": points[t].tolist(), "seen": [seen[t]]}))
            names.append(file)
    lines = [line.split() for line in library(library_python, _CHECK, *names).splitlines()]
    assert len(lines) == 120
    assert min(int(ahead) for ahead, _ in lines) == 20
    worst = max(float(error) for _, error in lines)
    print(f"worst {worst:.2e} px")
    assert worst < 1e-3


def test_source_time_and_frame_of_the_document(small_scene: Path) -> None:
    placed = module("placed")
    stand_in(small_scene, frame_start=1001)
    camera = add_camera()
    shot = add_shot(camera, (1003, 1005))
    shot.handle_before, shot.handle_after = 4, 2
    sample = module("shots.sampling").sample(bpy.context, shot)
    assert sample.frame_start == 999
    assert sample.source_time.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6]  # clamped to the clip before its start
    camera[placed.SOURCE_TIME] = 2.5
    camera.keyframe_insert(f'["{placed.SOURCE_TIME}"]', frame=1001)
    camera[placed.SOURCE_TIME] = 100.0
    camera.keyframe_insert(f'["{placed.SOURCE_TIME}"]', frame=1005)
    times = module("shots.sampling").sample(bpy.context, shot).source_time
    assert times[:3].tolist() == [2.5] * 3
    assert times[6:].tolist() == [7.0] * 3
    camera[placed.SOURCE_TIME] = "soon"
    bpy.data.objects["Camera"].animation_data_clear()
    with pytest.raises(module("errors").UserError, match="'soon'"):
        module("shots.sampling").sample(bpy.context, shot)


def _unkeyed_rig() -> tuple[bpy.types.Object, bpy.types.Object]:
    """A keyed camera on a keyed parent, both then moved by hand; lens and a custom property too."""
    parent = bpy.data.objects.new("Dolly", None)
    bpy.context.scene.collection.objects.link(parent)
    camera = add_camera()
    camera.parent = parent
    camera['Say "cheese"'] = 1.0
    for frame, place in ((1, 0.0), (8, 5.0)):
        camera.location, parent.location, camera.data.lens = (place, 0, 0), (0, place, 0), 30 + place
        camera['Say "cheese"'] = place
        for thing, path in (
            (camera, "location"),
            (camera, r'["Say \"cheese\""]'),
            (parent, "location"),
            (camera.data, "lens"),
        ):
            thing.keyframe_insert(path, frame=frame)
    bpy.context.scene.frame_set(4, subframe=0.25)
    camera.location, parent.location, camera.data.lens = (7, 8, 9), (1, 2, 3), 99
    camera['Say "cheese"'] = 42.0
    bpy.context.view_layer.update()
    return camera, parent


@pytest.mark.parametrize("sweep", [False, True])
def test_unkeyed_poses_are_kept(small_scene: Path, sweep: bool) -> None:
    stand_in(small_scene)
    camera, parent = _unkeyed_rig()
    if sweep:
        driver = camera.driver_add("delta_location", 2).driver
        variable = driver.variables.new()
        variable.type, variable.name = "SINGLE_PROP", "frame"
        variable.targets[0].id_type, variable.targets[0].id = "SCENE", bpy.context.scene
        variable.targets[0].data_path, driver.expression = "frame_current", "frame / 10"
        bpy.context.view_layer.update()
    before = [*camera.matrix_world.translation], [*parent.location]
    count = len(bpy.data.scenes)
    sample = module("shots.sampling").sample(bpy.context, add_shot(camera), sweep=sweep)
    assert np.allclose(sample.c2w[-1, :3, 3], [5, -0.8 if sweep else 0, 5], atol=1e-6)  # the keys, not the hand's pose
    assert ([*camera.matrix_world.translation], [*parent.location]) == before
    assert ([*camera.location], camera.data.lens, camera['Say "cheese"']) == ([7, 8, 9], 99, 42)
    scene = bpy.context.scene
    assert (scene.frame_current, scene.frame_subframe, len(bpy.data.scenes)) == (4, 0.25, count)
    bpy.context.view_layer.update()
    assert [*camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).location] == [7, 8, 9]


def test_drivers_on_the_scene_need_a_sweep(small_scene: Path) -> None:
    """Nothing on the camera itself tells: its parent is driven by the artist's scene."""
    stand_in(small_scene)
    camera, parent = add_camera(), bpy.data.objects.new("Driven", None)
    bpy.context.scene.collection.objects.link(parent)
    camera.parent = parent
    driver = parent.driver_add("location", 0).driver
    variable = driver.variables.new()
    variable.targets[0].id_type, variable.targets[0].id = "SCENE", bpy.context.scene
    variable.targets[0].data_path, driver.expression = "frame_current", "var * 2"
    shot, sampling = add_shot(camera), module("shots.sampling")
    with pytest.raises(sampling.NeedsSweep, match="depends on the scene"):
        sampling.sample(bpy.context, shot)
    shares = []
    work = sampling.steps(bpy.context, shot)
    while True:
        try:
            shares.append(next(work))
        except StopIteration as done:
            sample = done.value
            break
    assert np.allclose(sample.c2w[:, 0, 3], [2.0 * frame for frame in range(1, 9)])
    assert shares[-1] == 1.0
    assert sorted(shares) == shares


def test_a_cancelled_sweep_leaves_no_trace(small_scene: Path) -> None:
    empty = stand_in(small_scene)
    mesh = bpy.data.objects.new("Mesh", bpy.data.meshes.new("Mesh"))
    mesh[module("placed").FOOTAGE_ID], mesh[module("placed").ROLE] = "test", "mesh"
    bpy.context.scene.collection.objects.link(mesh)
    camera, _ = _unkeyed_rig()
    driver = empty.driver_add("location", 2).driver
    variable = driver.variables.new()
    variable.targets[0].id_type, variable.targets[0].id = "SCENE", bpy.context.scene
    variable.targets[0].data_path, driver.expression = "frame_current", "var"
    work = module("shots.sampling").steps(bpy.context, add_shot(camera))
    for _ in range(5):
        next(work)
    assert mesh.hide_viewport
    work.close()
    assert not mesh.hide_viewport
    assert [*camera.location] == [7, 8, 9]
    assert (bpy.context.scene.frame_current, bpy.context.scene.frame_subframe) == (4, 0.25)


def test_a_heavy_scene_costs_nothing_but_a_few_frames(small_scene: Path) -> None:
    """250 frames of a camera beside objects that take long: sampled in less than their time for ten frames."""
    stand_in(small_scene)
    mesh = bpy.data.meshes.new("Dense")
    grid = np.random.default_rng(0).normal(size=(1800, 3))
    mesh.from_pydata(grid.tolist(), [], [(3 * i, 3 * i + 1, 3 * i + 2) for i in range(600)])
    for index in range(12):
        thing = bpy.data.objects.new("Dense", mesh)
        thing.modifiers.new("Subdivision", "SUBSURF").levels = 2
        wave = thing.modifiers.new("Wave", "WAVE")
        wave.speed = 0.1 * index
        bpy.context.scene.collection.objects.link(thing)
    camera = add_camera()
    camera.keyframe_insert("location", frame=1)
    camera.location.x = 3
    camera.keyframe_insert("location", frame=250)
    bpy.context.view_layer.update()

    def took(work: Callable[[], object]) -> float:
        """Processor time, the shorter of two: a busy machine's other work is not counted."""
        times = []
        for _ in range(2):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    frames, shot = iter((17, 23)), add_shot(camera, (1, 250))
    one = took(lambda: bpy.context.scene.frame_set(next(frames)))
    all_of_them = took(lambda: module("shots.sampling").sample(bpy.context, shot))
    print(f"one frame {one:.3f} s, 250 samples {all_of_them:.3f} s")
    assert len(module("shots.sampling").sample(bpy.context, shot)) == 250
    assert all_of_them < 0.2 + 10 * one


def test_time_remapping_is_followed(small_scene: Path) -> None:
    stand_in(small_scene)
    camera = add_camera()
    for frame in (1, 100):
        camera.location.x = frame
        camera.keyframe_insert("location", frame=frame)
    bpy.context.scene.render.frame_map_old, bpy.context.scene.render.frame_map_new = 100, 50
    shot = add_shot(camera)
    sample = module("shots.sampling").sample(bpy.context, shot)
    bpy.context.scene.frame_set(8)
    seen = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world.translation.x
    assert abs(sample.c2w[7, 0, 3] - seen) < 1e-5


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda shot: setattr(shot, "camera", None), "lost its camera"),
        (lambda shot: bpy.context.scene.collection.objects.unlink(shot.camera), "not in this scene"),
        (lambda shot: setattr(shot.camera.data, "type", "ORTHO"), "orthographic"),
        (lambda shot: setattr(bpy.data.objects["Footage"], "scale", (1, 2, 1)), "has the scale"),
        (lambda shot: setattr(bpy.data.objects["Footage"], "scale", (-1, -1, -1)), "has the scale"),
        (lambda shot: setattr(shot, "frame_end", 200_000), "shorten it"),
        (lambda shot: bpy.data.objects.remove(bpy.data.objects["Footage"]), "no footage"),
    ],
)
def test_what_cannot_be_sampled_is_said(small_scene: Path, break_it: object, said: str) -> None:
    stand_in(small_scene)
    shot = add_shot(add_camera())
    break_it(shot)
    bpy.context.view_layer.update()
    scenes = len(bpy.data.scenes)
    with pytest.raises(module("errors").UserError, match=said):
        module("shots.sampling").sample(bpy.context, shot)
    assert len(bpy.data.scenes) == scenes


def test_a_camera_in_a_hidden_collection_is_sampled(small_scene: Path) -> None:
    stand_in(small_scene)
    camera = add_camera(location=(1, 2, 3))
    hidden = bpy.data.collections.new("Hidden")
    bpy.context.scene.collection.children.link(hidden)
    hidden.objects.link(camera)
    bpy.context.scene.collection.objects.unlink(camera)
    bpy.context.view_layer.layer_collection.children["Hidden"].exclude = True
    sample = module("shots.sampling").sample(bpy.context, add_shot(camera))
    assert np.allclose(sample.c2w[0, :3, 3], [1, -3, 2], atol=1e-6)


def test_matrices_are_rigid_in_large_scenes(small_scene: Path) -> None:
    empty = stand_in(small_scene, scale=250.0)
    empty.location = Vector((4000, -3000, 100))
    camera = add_camera()
    camera.parent = empty
    camera.matrix_basis = Matrix.Rotation(0.3, 4, "Z") @ Matrix.Rotation(3.0, 4, "X")
    bpy.context.view_layer.update()
    poses = module("shots.sampling").sample(bpy.context, add_shot(camera)).c2w
    rotation = poses[:, :3, :3]
    assert np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max() < 1e-9


def test_placed_footage_is_sampled_the_fast_way(small_scene: Path) -> None:
    """The real thing, mesh, drivers and all: another camera is on the air, the shot has a Source Time of its own."""
    bpy.ops.ex4d.import_scene(directory=str(small_scene))
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    shot, scene = module("shots").active_shot(bpy.context.scene), bpy.context.scene
    for frame, moment in ((1, 5.0), (8, 2.0)):
        shot.camera["Source Time"] = moment
        shot.camera.keyframe_insert('["Source Time"]', frame=frame)
    scene.camera = other = add_camera("On the air")
    bpy.ops.ex4d.blend_to_source()
    shot.camera["Blend to Source"] = 0.5
    shot.camera.update_tag()
    sample = module("shots.sampling").sample(bpy.context, shot)  # no NeedsSweep
    assert sample.source_time[[0, -1]].tolist() == [5.0, 2.0]
    assert np.abs(sample.c2w[-1, :3, 3]).max() > 0.1
    assert scene.camera == other
    assert not any(thing.hide_viewport for thing in scene.objects)


def test_a_lens_type_that_is_keyed_is_looked_at_in_each_frame(small_scene: Path) -> None:
    stand_in(small_scene)
    camera = add_camera()
    for frame, kind in ((1, "PERSP"), (6, "ORTHO")):
        camera.data.type = kind
        camera.data.keyframe_insert("type", frame=frame)
    sampling = module("shots.sampling")
    with pytest.raises(module("errors").UserError, match="Camera is no perspective camera at frame 6: delete the keys"):
        sampling.sample(bpy.context, add_shot(camera))
    bpy.context.scene.frame_set(7)  # orthographic now, but not within this shot
    assert len(sampling.sample(bpy.context, add_shot(camera, (1, 5)))) == 5
