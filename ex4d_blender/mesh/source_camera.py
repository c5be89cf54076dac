# SPDX-License-Identifier: GPL-3.0-or-later
"""The source camera: an ordinary camera that stands where the footage's stood, with the plate behind the scene."""

import bpy
import numpy as np
from mathutils import Matrix, Quaternion

from ..scene_folder import SceneFacts
from . import images, retiming

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""From OpenCV's camera axes (y down, z forward) to Blender's (y up, z backward)."""
SENSOR_WIDTH = 36.0
"""Millimetres; the lens is given in this, as Blender's own cameras are."""


def build(name: str, facts: SceneFacts, plate: bpy.types.Image, empty: bpy.types.Object) -> bpy.types.Object:
    """A new camera under the empty, of the size of the frame: its lens holds for renders of the footage's aspect."""
    data = bpy.data.cameras.new(name)
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_WIDTH
    camera = bpy.data.objects.new(name, data)
    camera.parent = empty
    c2w = facts.source_c2w
    set_poses(camera, np.eye(4)[None] if c2w is None else c2w, empty)
    _animate(data, lens_channels(facts), empty)
    _background(data, plate, empty)
    return camera


def lens_channels(facts: SceneFacts) -> dict[str, np.ndarray]:
    """Lens in millimetres and shifts of each frame, (T,) each; horizontal fit, for square pixels."""
    fx, _, cx, cy = facts.intrinsics.T
    return {
        "lens": fx / facts.width * SENSOR_WIDTH,
        "shift_x": 0.5 - cx / facts.width,
        "shift_y": (cy - facts.height / 2) / facts.width,
    }


def set_poses(camera: bpy.types.Object, c2w: np.ndarray, empty: bpy.types.Object) -> None:
    """Set the pose, driven by the clip frame if it moves; what drove it before goes.

    Args:
        camera: under the empty.
        c2w: (T, 4, 4) float64 camera-to-world, OpenCV axes, scene units.
        empty: whose `Source Frame` is followed.
    """
    for path in ("location", "rotation_quaternion"):
        camera.driver_remove(path)
    camera.rotation_mode = "QUATERNION"
    rotations: list[Quaternion] = []
    for pose in c2w @ FLIP:
        rotation = Matrix(pose[:3, :3].tolist()).to_quaternion()
        if rotations and rotation.dot(rotations[-1]) < 0:
            rotation.negate()  # the same rotation, on the side that interpolates
        rotations.append(rotation)
    _animate(camera, {"location": c2w[:, :3, 3], "rotation_quaternion": np.array(rotations)}, empty)


def _animate(owner: bpy.types.ID, channels: dict[str, np.ndarray], empty: bpy.types.Object) -> None:
    """Set properties; those that change over the clip become curves over the clip frame.

    A driver's curve maps what it reads, here the clip frame, to the property's value. So the camera is always where
    it was for the frame that is shown, also when that is frozen or retimed, which keys on the timeline are not.

    Args:
        owner: the object or camera data.
        channels: property -> (T,) or (T, components).
        empty: whose `Source Frame` is followed.
    """
    for path, values in channels.items():
        columns = values[:, None] if values.ndim == 1 else values
        for index in range(columns.shape[1]):
            column = columns[:, index]
            component = index if values.ndim > 1 else -1
            if component >= 0:
                getattr(owner, path)[component] = column[0]
            else:
                setattr(owner, path, column[0])
            if np.ptp(column) > 0:
                curve = retiming.follow(owner, path, empty, index=component)
                _set_points(curve, column)


def _set_points(curve: bpy.types.FCurve, values: np.ndarray) -> None:
    for generator in list(curve.modifiers):  # a new driver has one, which would take the place of the points
        curve.modifiers.remove(generator)
    curve.keyframe_points.clear()  # or, from 5.0 on, two points instead
    curve.keyframe_points.add(len(values))
    points = np.stack([np.arange(len(values)), values], axis=1).astype(np.float32)
    curve.keyframe_points.foreach_set("co", points.ravel())
    for point in curve.keyframe_points:
        point.interpolation = "LINEAR"
    curve.update()


def _background(data: bpy.types.Camera, plate: bpy.types.Image, empty: bpy.types.Object) -> None:
    data.show_background_images = True
    background = data.background_images.new()
    background.image = plate
    background.alpha = 1.0
    background.frame_method = "FIT"
    background.display_depth = "BACK"
    images.show(background.image_user)
    retiming.follow(data, "background_images[0].image_user.frame_offset", empty, add=-1)
