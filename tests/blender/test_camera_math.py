"""Blender's cameras as OpenCV's, against Blender's own matrices."""

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Matrix


def random_camera(random: np.random.Generator) -> tuple[bpy.types.Object, int, int, tuple[float, float]]:
    """A camera with any lens, shift and sensor, and a picture of any shape."""
    data = bpy.data.cameras.new("Any")
    data.lens = random.uniform(12, 120)
    data.sensor_width, data.sensor_height = random.uniform(8, 60, 2)
    data.sensor_fit = random.choice(["AUTO", "HORIZONTAL", "VERTICAL"])
    data.shift_x, data.shift_y = random.uniform(-0.4, 0.4, 2)
    width, height = (int(side) for side in random.integers(64, 2048, 2))
    aspect = tuple(float(side) for side in random.choice([(1, 1), (2, 1), (1, 1.5), (1.7, 1.2)]))
    camera = bpy.data.objects.new("Any", data)
    bpy.context.scene.collection.objects.link(camera)
    return camera, width, height, aspect


@pytest.mark.parametrize("seed", range(30))
def test_intrinsics_are_those_of_blenders_projection(seed: int) -> None:
    random = np.random.default_rng(seed)
    camera, width, height, aspect = random_camera(random)
    bpy.context.view_layer.update()
    projection = np.array(
        camera.calc_matrix_camera(
            bpy.context.evaluated_depsgraph_get(), x=width, y=height, scale_x=aspect[0], scale_y=aspect[1]
        )
    )
    fx, fy, cx, cy = module("shots.camera_math").intrinsics(camera.data, width, height, aspect)
    image = random.uniform(-0.2, 1.2, (50, 2)) * [width, height]
    depth = random.uniform(1, 9, (50, 1))
    points = np.c_[(image - [cx, cy]) / [fx, -fy] * depth, -depth, np.ones(50)]  # in Blender's camera axes
    clip = points @ projection.T
    expected = (clip[:, :2] / clip[:, 3:] * [0.5, -0.5] + 0.5) * [width, height]
    assert np.abs(image - expected).max() < 1e-3


@pytest.mark.parametrize("kind", ["ORTHO", "PANO", "CUSTOM"])
def test_lenses_that_no_trajectory_describes(kind: str) -> None:
    camera = random_camera(np.random.default_rng(0))[0]
    if kind not in bpy.types.Camera.bl_rna.properties["type"].enum_items:
        pytest.skip("this Blender has no custom lenses")
    camera.data.type = kind
    with pytest.raises(module("errors").UserError, match="set its Type to Perspective"):
        module("shots.camera_math").check_lens(camera)


def test_pose_is_free_of_the_empty() -> None:
    """Wherever the empty is, however large: the same pose in the footage's space."""
    maths, random = module("shots.camera_math"), np.random.default_rng(1)
    pose = np.eye(4)
    pose[:3, :3] = np.array(Matrix.Rotation(0.7, 3, random.normal(size=3)))
    pose[:3, 3] = random.normal(size=3)
    for _ in range(20):
        empty = np.array(
            Matrix.LocRotScale(random.normal(size=3) * 100, None, None)
            @ Matrix.Rotation(random.uniform(0, 6), 4, random.normal(size=3))
            @ Matrix.Scale(random.uniform(0.01, 40), 4),
            np.float64,
        )
        camera = empty @ pose @ maths.BLENDER_FROM_OPENCV
        camera[:3, :3] *= random.uniform(0.2, 3, 3)  # a camera's own scale moves nothing
        assert np.abs(maths.scene_pose(empty, camera) - pose).max() < 1e-5


@pytest.mark.parametrize("scale", [(1, 2, 1), (-1, 1, 1), (-2, -2, -2), (0, 0, 0), (1, 1.001, 1)])
def test_uneven_and_mirrored_empties(scale: tuple) -> None:
    empty = np.diag([*map(float, scale), 1.0])
    with pytest.raises(module("errors").UserError, match=r"Footage has the scale .* one positive scale"):
        module("shots.camera_math").scene_pose(empty, np.eye(4), ("Footage", "Camera"))


def test_sheared_and_mirrored_cameras() -> None:
    maths, error = module("shots.camera_math"), module("errors").UserError
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(error, match="sheared"):
        maths.scene_pose(np.eye(4), sheared)
    with pytest.raises(error, match="mirrored"):
        maths.scene_pose(np.eye(4), np.diag([-1.0, 1, 1, 1]))


def test_the_rest_rotation_is_upright() -> None:
    """-90 degrees about X stands the scene upright: ahead is +Y, up is +Z."""
    maths = module("shots.camera_math")
    rest = np.array(Matrix.Rotation(np.radians(-90), 4, "X"))
    assert np.abs(rest - maths.UPRIGHT_FROM_SCENE).max() < 1e-6
    assert np.allclose(maths.UPRIGHT_FROM_SCENE @ [0, 0, 1, 0], [0, 1, 0, 0])
    assert np.allclose(maths.UPRIGHT_FROM_SCENE @ [0, -1, 0, 0], [0, 0, 1, 0])
