# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a move's keys to a camera, as an animator would: few keys, Bezier handles, through `keyframe_insert`."""

import math
from collections.abc import Sequence
from functools import lru_cache

import bpy
import numpy as np

from ..versions import fcurves
from .fitting import MAX_KEYS, Fit, fit
from .moves import EASINGS, Settings, path

TOLERANCE = 4e-4
"""Largest error of a channel: shares of the subject's distance, or of the focal length. Three make under 0.1 %."""
TURN_TOLERANCE = math.radians(0.05)
"""Largest error of an angle, radians. Two make under 0.1 degrees."""
_GROUP = "Object Transforms"  # the name that Blender gives it


@lru_cache(maxsize=32)
def channels(name: str, settings: Settings, frames: int) -> dict[str, tuple[Fit, ...]]:
    """The keys of a move, per part of its `Path` (lengths as shares of the subject's distance).

    Args:
        name: of `MOVES`.
        settings: see there.
        frames: length, the last frame included.

    Returns:
        `location`, `rotation`, `focal`, and `orbit` where the move has one: a fit per channel.

    Raises:
        UserError: settings that the move cannot follow.
    """
    clock = EASINGS[settings.easing][2]
    parts = {"location": TOLERANCE, "rotation": TURN_TOLERANCE, "focal": TOLERANCE, "orbit": TURN_TOLERANCE}
    found = {}
    for part, tolerance in parts.items():
        shape = getattr(path(name, settings, np.zeros(1)), part)
        if shape is None:
            continue
        found[part] = tuple(
            fit(
                lambda progress, part=part, index=index: getattr(path(name, settings, progress), part).reshape(
                    len(progress), -1
                )[:, index],
                tolerance,
                frames,
                clock,
            )
            for index in range(shape[0].size)
        )
    return found


def misses(fits: dict[str, tuple[Fit, ...]]) -> bool:
    """Whether a move has a corner that five keys do not follow to 0.1 degrees and 0.1 %."""
    angles = [each.error for part in ("rotation", "orbit") for each in fits.get(part, ())]
    shares = [each.error for part in ("location", "focal") for each in fits.get(part, ())]
    return math.hypot(*angles) > math.radians(0.1) or math.hypot(*shares) > 1e-3


def write(
    thing: bpy.types.ID,
    data_path: str,
    fits: Sequence[Fit],
    frames: tuple[int, int],
    *,
    unit: float = 1.0,
    only_moving: bool = False,
) -> None:
    """Key a property; what its channels had before goes. The property is left at its value of the current frame.

    Args:
        thing: an object or its data.
        data_path: a number or a vector of it.
        fits: a fit per channel.
        frames: first and last Blender frame.
        unit: the property's value of 1 in the fits.
        only_moving: set a channel that stays the same, and do not key it.
    """
    fcurves.make_single(thing)
    fcurves.remove(thing, data_path)
    single = len(fits) == 1
    for index, found in enumerate(fits):
        if only_moving and len(found.keys) == 1:
            _set(thing, data_path, None if single else index, found.keys[0].value * unit)
            continue
        for key in found.keys:
            _set(thing, data_path, None if single else index, key.value * unit)
            thing.keyframe_insert(
                data_path,
                index=-1 if single else index,
                frame=_frame(key.time, frames),
                group=_GROUP if isinstance(thing, bpy.types.Object) else "",
            )
        curve = fcurves.find(thing, data_path, index)
        if len(found.keys) > 1:
            _shape(curve, found, frames, unit)
        else:
            _prefer(curve)
        _set(thing, data_path, None if single else index, curve.evaluate(bpy.context.scene.frame_current_final))


def _shape(curve: bpy.types.FCurve, found: Fit, frames: tuple[int, int], unit: float) -> None:
    assert len(curve.keyframe_points) == len(found.keys) <= MAX_KEYS
    for point, key in zip(curve.keyframe_points, found.keys, strict=True):
        point.interpolation = "BEZIER"
        point.handle_left_type = point.handle_right_type = "ALIGNED"
        point.co = _frame(key.time, frames), key.value * unit
    for point, key in zip(curve.keyframe_points, found.keys, strict=True):
        point.handle_left = _frame(key.left[0], frames), key.left[1] * unit
        point.handle_right = _frame(key.right[0], frames), key.right[1] * unit
    curve.update()


def _prefer(curve: bpy.types.FCurve) -> None:
    """A lone key as the artist's preferences have new ones: from Python, Blender does not ask them."""
    edit = bpy.context.preferences.edit
    for point in curve.keyframe_points:
        point.interpolation = edit.keyframe_new_interpolation_type
        point.handle_left_type = point.handle_right_type = edit.keyframe_new_handle_type
    curve.update()


def _frame(time: float, frames: tuple[int, int]) -> float:
    return frames[0] + time * (frames[1] - frames[0])


def _set(thing: bpy.types.ID, data_path: str, index: int | None, value: float) -> None:
    if index is None:
        setattr(thing, data_path, value)
    else:
        getattr(thing, data_path)[index] = value


_TURNS = ("rotation_euler", "rotation_quaternion", "rotation_axis_angle")


def is_animated(thing: bpy.types.ID) -> bool:
    """Whether an object's place or turn, or a camera's lens, is animated already."""
    return any(name in ("location", "lens", *_TURNS) for name, _ in fcurves.animated_channels(thing))


def is_driven(camera: bpy.types.Object) -> bool:
    """Whether drivers, which keys cannot replace, place or turn a camera, or set its lens."""
    driven = (*fcurves.drivers(camera), *fcurves.drivers(camera.data))
    return any(driver.data_path in ("location", "lens", *_TURNS) for driver in driven)


def clear_turns(camera: bpy.types.Object) -> None:
    """Remove keys of a rotation in another mode than the one that moves are written in."""
    fcurves.make_single(camera)
    fcurves.remove(camera, *_TURNS[1:])
