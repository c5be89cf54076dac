# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a camera's move has changed since it was last looked at, without evaluating it.

A fingerprint of what a camera's move is made of: keys, drivers, constraints, parents, lens, and the shot's range and
size. What a fingerprint cannot know (a path's own shape, another object's driver) shows when a frame is visited: see
`stale`.
"""

import hashlib
from collections.abc import Iterable

import bpy
import numpy as np

from ..placed import Placed
from ..shots import Shot
from ..versions import fcurves
from .record import RECORD, STRETCHED, UNSEEN

_MOST_OBJECTS = 64
_NO_SETTING = {"error_location", "error_rotation", "is_valid", "show_expanded", "active", "is_override_data"}
_TRANSFORM = (
    "location", "rotation_mode", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale",
    "delta_location", "delta_rotation_euler", "delta_rotation_quaternion", "delta_scale", "matrix_parent_inverse",
    "parent_type", "parent_bone",
)  # fmt: skip
_LENS = ("type", "lens", "sensor_width", "sensor_height", "sensor_fit", "shift_x", "shift_y")
_OWN = {f'["{name}"]' for name in (UNSEEN, STRETCHED, RECORD)}


def fingerprint(scene: bpy.types.Scene, shot: Shot, placed: Placed) -> str:
    """What a shot's pictures depend on, as one short text."""
    digest = hashlib.sha256()
    render = scene.render
    _add(digest, shot.first_frame, shot.last_frame, shot.width, shot.height)
    _add(digest, render.pixel_aspect_x, render.pixel_aspect_y, render.frame_map_old, render.frame_map_new)
    for thing in _involved(shot.camera, placed.empty):
        _add(digest, thing.name, thing.parent.name if thing.parent else None)
        _add_values(digest, thing, _TRANSFORM)
        _add_custom(digest, thing)
        _add_animation(digest, thing)
        for constraint in thing.constraints:
            path = f'constraints["{constraint.name}"].'
            _add_values(digest, thing, [path + name for name in _plain(constraint)])
            target = getattr(constraint, "target", None)
            _add(digest, target.name if target else None, getattr(constraint, "subtarget", None))
        if thing.type == "CAMERA":
            _add_values(digest, thing.data, _LENS)
            _add_animation(digest, thing.data)
    return digest.hexdigest()[:24]


def _plain(thing: bpy.types.Constraint | bpy.types.FModifier) -> list[str]:
    """Names of the settings that are numbers or choices; not what Blender computes, nor what only the panels show."""
    kinds = ("BOOLEAN", "INT", "FLOAT", "ENUM")
    return [p.identifier for p in thing.bl_rna.properties if p.type in kinds and p.identifier not in _NO_SETTING]


def _involved(*first: bpy.types.Object) -> list[bpy.types.Object]:
    """Objects, their parents and their constraints' targets, and theirs in turn."""
    found: list[bpy.types.Object] = []
    waiting = list(first)
    while waiting and len(found) < _MOST_OBJECTS:
        thing = waiting.pop(0)
        if thing in found:
            continue
        found.append(thing)
        targets = (getattr(constraint, "target", None) for constraint in thing.constraints)
        waiting += [other for other in (thing.parent, *targets) if other is not None]
    return found


def _add(digest: "hashlib._Hash", *values: object) -> None:
    digest.update(repr(values).encode())


def _add_values(digest: "hashlib._Hash", thing: bpy.types.ID, paths: Iterable[str]) -> None:
    """Values that nothing animates; those that are, are what their curves make of them."""
    animated = {path for path, _ in fcurves.animated_channels(thing)}
    for path in paths:
        if path not in animated:
            value = thing.path_resolve(path)
            _add(digest, path, value if isinstance(value, str | int | float | set) else _numbers(value))


def _numbers(value: object) -> list[object]:
    return [_numbers(part) if hasattr(part, "__len__") else part for part in value]


def _add_custom(digest: "hashlib._Hash", thing: bpy.types.Object) -> None:
    animated = {path for path, _ in fcurves.animated_channels(thing)} | _OWN
    for name, value in sorted(thing.items()):
        # the extension's own are names and paths, which saving changes
        if not name.startswith("ex4d_") and f'["{name}"]' not in animated and isinstance(value, str | int | float):
            _add(digest, name, value)


def _add_animation(digest: "hashlib._Hash", thing: bpy.types.ID) -> None:
    for curve in fcurves.curves(thing):
        if curve.data_path not in _OWN:
            _add_curve(digest, curve)
    for curve in fcurves.drivers(thing):
        _add(digest, curve.data_path, curve.array_index, curve.driver.type, curve.driver.expression)
        for variable in curve.driver.variables:
            _add(digest, variable.name, variable.type)
            for target in variable.targets:
                _add(digest, target.id.name if target.id else None, target.data_path, target.transform_type)
    animation = thing.animation_data
    for track in animation.nla_tracks if animation else ():
        for strip in track.strips:
            name = strip.action.name if strip.action else None
            _add(digest, track.mute, strip.mute, name, strip.frame_start, strip.frame_end, strip.influence)


def _add_curve(digest: "hashlib._Hash", curve: bpy.types.FCurve) -> None:
    _add(digest, curve.data_path, curve.array_index, curve.mute, curve.extrapolation)
    points = curve.keyframe_points
    for name, size, kind in (
        ("co", 2, np.float32),
        ("handle_left", 2, np.float32),
        ("handle_right", 2, np.float32),
        ("interpolation", 1, np.int32),
        ("easing", 1, np.int32),
    ):
        values = np.empty(size * len(points), kind)
        points.foreach_get(name, values)
        digest.update(values.tobytes())
    sampled = np.empty(2 * len(curve.sampled_points), np.float32)
    curve.sampled_points.foreach_get("co", sampled)
    digest.update(sampled.tobytes())
    for modifier in curve.modifiers:
        for name in _plain(modifier):
            value = getattr(modifier, name)
            _add(digest, name, value if isinstance(value, str | set | float | int) else list(value))
