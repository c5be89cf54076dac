# SPDX-License-Identifier: GPL-3.0-or-later
"""A camera and a shot for a take that has none in this file: made from the take's own trajectory."""

import bpy
import numpy as np
from mathutils import Matrix

from ..mesh import source_time
from ..placed import SOURCE_TIME, Placed, active
from ..project.solved import own_poses, standing_poses
from ..shots import Shot, camera_math, making
from ..shots.properties import add_shot, next_name
from ..use import marks
from ..versions import fcurves
from .folder import TakeFacts

SENSOR_WIDTH = 36.0
"""Millimetres; the lens is given in this, as Blender's own cameras are."""
_STILL = 1e-6
"""A channel that moves less than this has one key."""


def make_shot(context: bpy.types.Context, facts: TakeFacts, frame_start: int) -> Shot:
    """A new shot with a camera that stands where the take was taken; see `make_camera`."""
    scene = context.scene
    name = facts.shot_name or next_name(scene)
    camera = make_camera(context, facts, frame_start, name)
    first, last = frame_start + facts.handles[0], frame_start + facts.frames - 1 - facts.handles[1]
    shot = add_shot(scene, name, camera, (first, last))
    shot.handle_before, shot.handle_after = facts.handles
    shot.width, shot.height = facts.frame_size
    if scene.camera is None:
        scene.camera = camera
    return shot


def make_camera(context: bpy.types.Context, facts: TakeFacts, frame_start: int, name: str) -> bpy.types.Object:
    """A camera that stands where a take was taken, a key on each frame where it moves.

    Args:
        context: its scene gets it.
        facts: the take.
        frame_start: the Blender frame of the take's first picture.
        name: of the camera.

    Raises:
        UserError: the footage in the scene cannot be read.
    """
    placed = marks.filmed_by(context.scene, facts) or active(context)
    poses = facts.c2w if placed is None else _standing(placed, facts)
    if placed is None:
        camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
        context.scene.collection.objects.link(camera)
    else:
        camera = making.new_camera(context, placed, name)
        camera.parent = placed.empty
        camera.matrix_parent_inverse = Matrix(np.linalg.inv(camera_math.UPRIGHT_FROM_SCENE).tolist())
    _key_pose(camera, poses, frame_start)
    _key_lens(camera.data, facts, frame_start)
    if placed is not None:
        _key_time(camera, placed, facts, frame_start)
    return camera


def _standing(placed: Placed, facts: TakeFacts) -> np.ndarray:
    """The poses under the empty, where a camera chosen in Blender may have filmed; see `project.solved`."""
    footage = placed.facts()
    shown = np.clip(np.floor(facts.source_time + 0.5), 0, footage.frames - 1).astype(int)
    return standing_poses(placed)[shown] @ np.linalg.inv(own_poses(footage)[shown]) @ facts.c2w


def _key_pose(camera: bpy.types.Object, c2w: np.ndarray, frame_start: int) -> None:
    camera.rotation_mode = "QUATERNION"
    places, turns = [], []
    for pose in camera_math.blender_from_pose(c2w):
        matrix = Matrix(pose.tolist())
        turn = matrix.to_quaternion()
        if turns and turn.dot(turns[-1]) < 0:
            turn.negate()  # the same rotation, on the side that interpolates
        turns.append(turn)
        places.append(matrix.to_translation())
    _key(camera, "location", np.array(places), frame_start)
    _key(camera, "rotation_quaternion", np.array(turns), frame_start)


def _key_lens(data: bpy.types.Camera, facts: TakeFacts, frame_start: int) -> None:
    """Fitted to the width, for square pixels, of the frame without overscan."""
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_WIDTH
    fx, _, cx, cy = facts.intrinsics.T
    width = facts.frame_size[0]
    data.sensor_height = SENSOR_WIDTH * facts.frame_size[1] / width
    _key(data, "lens", (fx / width * SENSOR_WIDTH)[:, None], frame_start)
    _key(data, "shift_x", ((facts.width / 2 - cx) / width)[:, None], frame_start)
    _key(data, "shift_y", ((cy - facts.height / 2) / width)[:, None], frame_start)


def _key_time(camera: bpy.types.Object, placed: Placed, facts: TakeFacts, frame_start: int) -> None:
    """A Source Time, where the footage as it stands would show other clip frames."""
    frames = frame_start + np.arange(facts.frames)
    length = placed.facts().frames
    default = np.clip([placed.default_source_time(float(frame)) for frame in frames], 0, length - 1)
    if np.abs(default - facts.source_time).max() <= 1e-3:
        return
    source_time.add(camera, float(facts.source_time[0]), length)
    _key(camera, f'["{SOURCE_TIME}"]', facts.source_time[:, None], frame_start)


def _key(thing: bpy.types.ID, path: str, values: np.ndarray, frame_start: int) -> None:
    """Key a property on every frame, in straight lines; a channel that stays the same is keyed once.

    Args:
        thing: an object or its data.
        path: of the property.
        values: (T, components).
        frame_start: of the first.
    """
    for index in range(values.shape[1]):
        column = values[:, index] if np.ptp(values[:, index]) > _STILL else values[:1, index]
        component = index if values.shape[1] > 1 else -1
        if component >= 0:
            getattr(thing, path)[component] = column[0]
        elif path.startswith("["):
            thing[path[2:-2]] = float(column[0])
        else:
            setattr(thing, path, column[0])
        thing.keyframe_insert(path, index=component, frame=frame_start)
        curve = fcurves.find(thing, path, index)
        curve.keyframe_points.add(len(column) - 1)
        points = np.stack([frame_start + np.arange(len(column)), column], axis=1).astype(np.float32)
        curve.keyframe_points.foreach_set("co", points.ravel())
        for point in curve.keyframe_points:
            point.interpolation = "LINEAR"
        curve.update()
