# SPDX-License-Identifier: GPL-3.0-or-later
"""How the footage stands in the scene: its scale from a known distance, its ground from three points.

Only the empty is changed. Points are in Blender's world; the camera stays where it is when the scale changes, as the
empty's origin is where the footage camera starts.
"""

import math
from collections.abc import Iterable

import numpy as np
from mathutils import Matrix, Vector

from ..errors import UserError
from ..placed import FOOTAGE_ID, Placed
from ..shots import camera_math
from ..versions import fcurves

MIN_DISTANCE = 1e-6
"""Metres: points nearer than this are one point."""
LARGEST_SCALE = 1e6
"""Of the empty; the smallest is one divided by it. Beyond, Blender's 32-bit numbers hold no footage."""
MIN_SINE = 1e-3
"""Three points whose triangle is flatter than this (as the sine of the angle at the first) give no plane."""


def require_free(placed: Placed, *channels: str) -> None:
    """Refuse to write channels that something else writes again on the next frame.

    Args:
        placed: its empty is asked.
        channels: `location`, `scale`, `rotation`.

    Raises:
        UserError: one is keyed or driven, or the empty is linked, or scaled unevenly.
    """
    empty = placed.empty
    camera_math.scene_pose(np.array(empty.matrix_world), np.eye(4), (empty.name, ""))  # refuses an uneven scale
    if empty.library is not None:
        raise UserError(
            "{empty} is linked from another file: make a library override of it, or change it there.", empty=empty.name
        )
    held = {path for path, _ in fcurves.animated_channels(empty)}
    for channel in channels:
        if any(path.startswith((channel, f"delta_{channel}")) for path in held):
            raise UserError(
                "The {channel} of {empty} is animated: clear its keys or drivers, or parent it to an empty and move "
                "that.",
                channel=channel,
                empty=empty.name,
            )


def set_scale(placed: Placed, first: Vector, second: Vector, distance: float) -> float:
    """Scale the footage about its origin, so that two points of it are `distance` Blender units apart.

    Returns:
        The factor by which it grew.

    Raises:
        UserError: the points are one, the distance is nothing, or the empty's scale is animated.
    """
    _require_finite(first, second)
    apart = (first - second).length
    if not (distance > 0 and math.isfinite(distance)):
        raise UserError(
            "The distance is {distance:g}: give how far the two points are apart, more than 0.", distance=distance
        )
    if apart < MIN_DISTANCE:
        raise UserError("The two points lie on one another: pick two that are apart.")
    require_free(placed, "scale")
    factor = distance / apart
    scale = factor * max(placed.empty.matrix_world.to_scale())
    if not 1 / LARGEST_SCALE <= scale <= LARGEST_SCALE:
        raise UserError("The footage would be scaled by {scale:g}: check the distance and its unit.", scale=scale)
    placed.empty.scale = placed.empty.scale * factor
    keep_in_sight(placed, factor)
    return factor


def keep_in_sight(placed: Placed, factor: float) -> None:
    """After the footage grew or shrank: let its cameras still see both its ends. Nothing is taken away."""
    cameras = {
        thing.data
        for scene in placed.empty.users_scene
        for thing in scene.objects
        if thing.type == "CAMERA" and thing.get(FOOTAGE_ID) == placed.id and thing.data.library is None
    }
    for camera in cameras:
        camera.clip_end = camera.clip_end * max(factor, 1.0)
        camera.clip_start = camera.clip_start * min(factor, 1.0)


def _require_finite(*points: Vector) -> None:
    """Raises: UserError."""
    if not all(math.isfinite(number) for point in points for number in point):
        raise UserError("A point has a coordinate that is no finite number: pick the points again.")


def ground_matrix(points: Iterable[Vector], above: Vector) -> Matrix:
    """The motion that lays the plane through three points on Blender's ground: a rotation by the least angle about
    the first point, then straight up or down.

    Args:
        points: three, in world space.
        above: a point over the ground, such as the camera: it says which side is up.

    Raises:
        UserError: the points lie on a line.
    """
    first, second, third = points
    one, two = second - first, third - first
    normal = one.cross(two)
    if normal.length <= MIN_SINE * one.length * two.length or min(one.length, two.length) < MIN_DISTANCE:
        raise UserError("The three points lie on a line: pick points on the ground that make a wide triangle.")
    normal.normalize()
    if normal.dot(above - first) < 0:
        normal.negate()
    turn = normal.rotation_difference(Vector((0.0, 0.0, 1.0))).to_matrix().to_4x4()
    return Matrix.Translation(Vector((first.x, first.y, 0.0))) @ turn @ Matrix.Translation(-first)


def set_ground(placed: Placed, points: Iterable[Vector]) -> None:
    """Turn and move the footage so that three points of it lie on Blender's ground, the footage camera above.

    Raises:
        UserError: the points lie on a line, or the empty is animated or held by a constraint.
    """
    points = list(points)
    _require_finite(*points)
    require_free(placed, "location", "rotation")
    empty = placed.empty
    if any(constraint.enabled and constraint.influence > 0 for constraint in empty.constraints):
        raise UserError("{empty} is held by a constraint: disable it first, or apply it.", empty=empty.name)
    eye = placed.source_camera.matrix_world if placed.source_camera else empty.matrix_world
    empty.matrix_world = ground_matrix(points, eye.translation) @ empty.matrix_world
