# SPDX-License-Identifier: GPL-3.0-or-later
"""How the footage stands in the scene: its scale from a known distance, its ground from three points.

Only the empty is changed. Points are in Blender's world; the camera stays where it is when the scale changes, as the
empty's origin is where the footage camera starts.
"""

from collections.abc import Iterable

from mathutils import Matrix, Vector

from ..errors import UserError
from ..placed import Placed
from ..versions import fcurves

MIN_DISTANCE = 1e-6
"""Metres: points nearer than this are one point."""
MIN_SINE = 1e-3
"""Three points whose triangle is flatter than this (as the sine of the angle at the first) give no plane."""


def require_free(placed: Placed, *channels: str) -> None:
    """Refuse to write channels that something else writes again on the next frame.

    Args:
        placed: its empty is asked.
        channels: `location`, `scale`, `rotation`.

    Raises:
        UserError: one is keyed or driven, or the empty is linked.
    """
    empty = placed.empty
    if empty.library is not None:
        raise UserError(f"{empty.name} is linked from another file: make a library override of it, or change it there.")
    held = {path for path, _ in fcurves.animated_channels(empty)}
    for channel in channels:
        if any(path.startswith((channel, f"delta_{channel}")) for path in held):
            raise UserError(
                f"The {channel} of {empty.name} is animated: clear its keys or drivers, or parent it to an empty and "
                "move that."
            )


def set_scale(placed: Placed, first: Vector, second: Vector, distance: float) -> float:
    """Scale the footage about its origin, so that two points of it are `distance` Blender units apart.

    Returns:
        The factor by which it grew.

    Raises:
        UserError: the points are one, the distance is nothing, or the empty's scale is animated.
    """
    apart = (first - second).length
    if not distance > 0:
        raise UserError(f"The distance is {distance:g}: give how far the two points are apart, more than 0.")
    if apart < MIN_DISTANCE:
        raise UserError("The two points lie on one another: pick two that are apart.")
    require_free(placed, "scale")
    factor = distance / apart
    placed.empty.scale = placed.empty.scale * factor
    keep_in_sight(placed, factor)
    return factor


def keep_in_sight(placed: Placed, factor: float) -> None:
    """After the footage grew: let its cameras still see its far end. Nothing is taken away."""
    camera = placed.source_camera
    if camera is None or camera.type != "CAMERA" or factor <= 1:
        return
    camera.data.clip_end = camera.data.clip_end * factor


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
    require_free(placed, "location", "rotation")
    empty = placed.empty
    if any(constraint.enabled and constraint.influence > 0 for constraint in empty.constraints):
        raise UserError(f"{empty.name} is held by a constraint: disable it first, or apply it.")
    eye = placed.source_camera.matrix_world if placed.source_camera else empty.matrix_world
    empty.matrix_world = ground_matrix(points, eye.translation) @ empty.matrix_world
